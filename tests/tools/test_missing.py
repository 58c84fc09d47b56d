"""A program that lacks the packages of an extra says what to install, in one line."""

import importlib.metadata
import os
import pathlib
import re
import runpy
import subprocess
import sys
from unittest import mock

import pytest

from zoo.tools import missing

ROOT = pathlib.Path(__file__).parents[2]
WITHOUT = ROOT / "tests" / "reference" / "without.py"
MODEL = "simclr_convnet_digits.e100"
COMMANDS = {
    "train": ["--gin_file=runs/simclr_digits.gin", "--workdir={folder}/run"],
    "evaluate": [f"--model={MODEL}", "--data=digits", "--out={folder}/judged"],
    "export": [f"--model={MODEL}", "--out={folder}/exported"],
    "serve": [f"--model={MODEL}", "--port=0", "--grpc_port=0"],
    "views": ["--gin_file=runs/simclr_digits.gin", "--out={folder}/sheet.png"],
    "data": ["info", "digits"],
}


def required(extra):
    """The distributions that an extra of setup.py asks for, beyond those that are always installed."""
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    names = setup.call_args.kwargs["extras_require"][extra]
    return {re.split(r"[<>=\[ ]", text)[0].lower() for text in names}


def modules_of(distributions):
    """Distribution -> the modules that it brings, for those that are installed here."""
    found = {}
    for module, owners in importlib.metadata.packages_distributions().items():
        for owner in owners:
            if re.sub(r"[-_.]+", "-", owner).lower() in {re.sub(r"[-_.]+", "-", name) for name in distributions}:
                found.setdefault(re.sub(r"[-_.]+", "-", owner).lower(), set()).add(module)
    return found


@pytest.mark.parametrize("extra", ["tf", "cpu", "jax", "client"])
def test_the_modules_of_every_extra_are_known(extra):
    known = {module.partition(".")[0] for module in (*missing._CPU, *missing._JAX)}
    found = modules_of(required(extra))
    assert found and all(modules & known for modules in found.values()), found


@pytest.mark.parametrize("engine", ["tensorflow", "jax"])
@pytest.mark.parametrize("module", sorted({*missing._CPU, *missing._JAX}))
def test_every_module_leads_to_an_extra_that_brings_it(module, engine, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", engine)
    try:
        try:
            raise ModuleNotFoundError(f"No module named {module!r}", name=f"{module}.inside")
        except ModuleNotFoundError as cause:
            raise ValueError("wrapped by a library") from cause
    except ValueError as error:
        found = re.search(r"pip install 'contrastive-zoo\[(\w+)\]'", missing.advice(error))
    brought = set().union(*modules_of(required(found[1])).values())
    assert module.partition(".")[0] in brought or module in ("jaxlib", "google.protobuf")
    assert (found[1] == "jax") == (module in missing._JAX and (engine == "jax" or module in ("jax", "jaxlib")))


@pytest.mark.parametrize("error", [ImportError("no name"), ModuleNotFoundError("x", name="my_protocol"), ValueError(1)])
def test_other_errors_are_left_alone(error):
    assert missing.advice(error) is None


@pytest.mark.parametrize("program", COMMANDS)
@pytest.mark.parametrize(("engine", "absent"), [("tensorflow", missing._CPU), ("jax", missing._JAX)])
def test_no_program_ends_with_a_traceback(program, engine, absent, tmp_path):
    arguments = [argument.format(folder=tmp_path) for argument in COMMANDS[program]]
    environment = os.environ | {"KERAS_BACKEND": engine, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, WITHOUT, ",".join(absent), program, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert re.fullmatch(r"error: import: expected the package of `\w+`\. Received: none; pip install .*", last), last
    assert not list(tmp_path.iterdir())
