"""The wheel, in an empty folder: the programs, the experiments and the encoders are inside."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = ["setup.py", "pyproject.toml", "README.md", "LICENSE", "zoo", "tools", "gin", "saved_models"]
USE = """
import pathlib, sys
import zoo
here = pathlib.Path(sys.argv[1])
assert here in pathlib.Path(zoo.__file__).parents, zoo.__file__
names = zoo.list_models()
assert names and "keras" not in sys.modules
import numpy
model = zoo.load(names[0])
print(names[0], model.predict(numpy.zeros((2, *model.input_shape[1:]), "float32"), verbose=0).shape)
"""


def run(arguments, **options):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=280, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_everything_is_in_the_wheel(tmp_path):
    source, site, empty = (tmp_path / name for name in ("source", "site", "empty"))
    source.mkdir()
    empty.mkdir()
    for name in SOURCES:  # a copy, since building leaves things behind
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)])
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert not [name for name in names if name.startswith(("gin/", "tools/", "tests/", "saved_models/"))]
    assert "zoo/gin/runs/simclr_digits.gin" in names and "zoo/gin/__init__.py" not in names
    environment = {**os.environ, "PYTHONPATH": str(site)}
    assert run([sys.executable, "-c", USE, str(site)], cwd=empty, env=environment)
    train = [sys.executable, "-m", "zoo.tools.train", "--gin_file=runs/simclr_digits.gin"]
    assert "SimCLR" in run([*train, "--dry_run"], cwd=empty, env=environment)
    params = ["--gin_param=loop.run.epochs = 1", "--gin_param=schedules.WarmupCosine.warmup_epochs = 0"]
    run([*train, *params, "--workdir=run"], cwd=empty, env=environment)
    assert list((empty / "run" / "checkpoints").glob("*.npz"))
