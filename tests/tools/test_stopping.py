"""A signal ends every program without a traceback, and what is there afterwards is whole."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from zoo.hub import cards
from zoo.transfer import results

ROOT = pathlib.Path(__file__).parents[2]
STOPPED = ROOT / "tests" / "reference" / "stopped.py"
MODEL = "simclr_convnet_digits.e100"
QUICK = ["--labels=all", "--protocol=knn", "--train_split=train[:60]", "--test_split=test[:60]"]
COMMANDS = {
    "train": ["--gin_file=runs/simclr_digits.gin", "--workdir={out}"],
    "evaluate": [f"--model={MODEL}", "--data=digits", "--out={out}", *QUICK],
    "export": [f"--model={MODEL}", "--out={out}"],
    "views": ["--gin_file=runs/simclr_digits.gin", "--count=1", "--out={out}.png"],
    "data": ["export", "digits", "--out={out}.npz"],
    "serve": [f"--model={MODEL}", "--port=0", "--grpc_port=-1", "--port_file={out}.json"],
}
# zoo-train saves when it has begun, see tests/train/test_workdir.py.
MOMENTS = [("SIGINT", "first"), ("SIGTERM", "last"), ("SIGINT", "import")]
CASES = [(program, *when) for program in COMMANDS for when in MOMENTS if program != "train" or when[1] == "import"]
STATUS = {"SIGINT": (130, "interrupted"), "SIGTERM": (143, "terminated")}


def check(path):
    """Reads what a program wrote, which raises an error if it is not whole."""
    if path.is_dir() and (path / cards.CARD).exists():
        cards.opened(path)
    elif path.is_dir():
        assert {file.name for file in path.iterdir()} <= {"results.json", "results.md"}
        assert not (path / "results.json").exists() or results.read(path)
    elif path.suffix == ".png":
        Image.open(path).load()
    elif path.suffix == ".npz":
        assert [np.load(path)[name].size for name in np.load(path).files]
    else:
        assert json.loads(path.read_text())["pid"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("program", "name", "moment"), CASES)
def test_a_signal_leaves_nothing_half_done(program, name, moment, tmp_path):
    folder = tmp_path / "outputs"
    folder.mkdir()
    arguments = [argument.format(out=folder / "simclr_convnet_digits.v1") for argument in COMMANDS[program]]
    command = [sys.executable, STOPPED, name, moment, folder, program, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert "Traceback" not in done.stderr, done.stderr
    status, text = STATUS[name]
    if program == "serve" and moment != "import":  # it listens by then, and ends in order
        assert done.returncode == 0 and '"stopped"' in done.stderr, done.stderr
    else:
        assert done.returncode == status and done.stderr.rstrip().endswith(text), done.stderr
    for path in folder.iterdir():
        assert not path.name.startswith("."), path
        check(path)
    assert moment == "last" or program in ("serve", "evaluate") or not list(folder.iterdir())
