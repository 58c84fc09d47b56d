"""JAX against TensorFlow: the same seed, views and batches give the same losses, states, files and encoders."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from reference import engines_probe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="starts either engine itself"),
]
REFERENCE = pathlib.Path(__file__).parent.parent / "reference"
NAMES = tuple(engines_probe.runs())
FEW = ("simclr", "infomin", "cmc", "by_path")
# As on a machine that has JAX alone.
WITHOUT = "import sys\nfor name in ('tensorflow', 'tensorflow_datasets'): sys.modules[name] = None\n"
TRAIN = WITHOUT + "from zoo.tools import train\ntrain.cli()\n"
KILLED = WITHOUT + "import runpy\nrunpy.run_path(sys.argv.pop(1), run_name='__main__')\n"
FILES = [f"--gin_file={REFERENCE}/tiny.gin", f"--gin_file={REFERENCE}/tiny_infomin.gin"]
SHORT = ["--gin_param=loop.run.epochs = 6", "--gin_param=loop.Rhythm.save_every = 20"]


def environment(engine, **more):
    path = os.pathsep.join([str(REFERENCE.parent), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "KERAS_BACKEND": engine, "PYTHONPATH": path, **more}


def python(engine, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment(engine), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    found = {}
    runs = {"tensorflow": ("tensorflow", 1, ()), "jax": ("jax", 1, ()), "two": ("jax", 2, FEW)}
    for name, (engine, replicas, names) in runs.items():
        folder = tmp_path_factory.mktemp(name)
        python(engine, REFERENCE / "engines_probe.py", folder, replicas, *names)
        found[name] = folder
    return found


def losses(folder):
    return json.loads((folder / "losses.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_twenty_losses_are_those_of_tensorflow(probed, name):
    ours, theirs = losses(probed["jax"])[name], losses(probed["tensorflow"])[name]
    assert len(ours) == 20 and max(theirs) - min(theirs) > 1e-2
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_state_ends_as_on_tensorflow(probed, name):
    """Weights, statistics, queues and pointers, banks, averages, normalizers, slots and counts."""
    ours, theirs = (dict(np.load(probed[engine] / f"{name}.npz")) for engine in ("jax", "tensorflow"))
    assert list(ours) == list(theirs)
    for path in theirs:
        size = max(1.0, np.abs(theirs[path]).max())
        np.testing.assert_allclose(ours[path] / size, theirs[path] / size, atol=1e-3, err_msg=path)


@pytest.mark.parametrize("name", FEW)
def test_two_devices_end_as_one(probed, name):
    np.testing.assert_allclose(losses(probed["two"])[name], losses(probed["jax"])[name], atol=1e-4)
    ours, theirs = (dict(np.load(probed[run] / f"{name}.npz")) for run in ("two", "jax"))
    for path in theirs:
        size = max(1.0, np.abs(theirs[path]).max())
        np.testing.assert_allclose(ours[path] / size, theirs[path] / size, atol=1e-4, err_msg=path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on JAX without TensorFlow, and one that was killed in between and started again."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("whole", "killed"):
        if name == "killed":
            killed = ["-c", KILLED, REFERENCE / "killed.py", 33, *FILES, *SHORT, f"--workdir={folder}/killed"]
            python("jax", *killed, code=-9)
            assert [path.name for path in (folder / "killed/checkpoints").iterdir()] == ["step-000000020.npz"]
        python("jax", "-c", TRAIN, *FILES, *SHORT, f"--workdir={folder}/{name}")
    return folder


def test_a_killed_run_ends_as_an_uninterrupted_one(trained):
    whole, killed = (dict(np.load(trained / name / "checkpoints/step-000000060.npz")) for name in ("whole", "killed"))
    assert list(whole) == list(killed)
    for path in whole:
        np.testing.assert_array_equal(whole[path], killed[path], err_msg=path)
    assert (trained / "whole/metrics.jsonl").read_text() == (trained / "killed/metrics.jsonl").read_text()
    record = json.loads((trained / "whole/run.json").read_text())
    assert record["strategy"] == "JAX" and "jax" in record["versions"] and "tensorflow" not in record["versions"]
    assert any((trained / "whole/tensorboard").iterdir())


def test_tensorflow_goes_on_where_jax_left_off(trained, tmp_path):
    """And exports: the SavedModel of a run on JAX has the features that JAX computes."""
    import shutil

    shutil.copytree(trained / "whole", tmp_path / "run")
    for path in (tmp_path / "run/checkpoints").iterdir():
        if path.name != "step-000000040.npz":
            path.unlink()
    train = ["-m", "zoo.tools.train", *FILES, *SHORT, f"--workdir={tmp_path}/run"]
    assert "Continuing" in python("tensorflow", *train).stderr
    last = "checkpoints/step-000000060.npz"
    ours, theirs = dict(np.load(trained / "whole" / last)), dict(np.load(tmp_path / "run" / last))
    for path in ours:
        if path != "meta":
            np.testing.assert_allclose(theirs[path], ours[path], atol=1e-3, err_msg=path)

    python(
        "tensorflow", "-m", "zoo.tools.export", f"--workdir={trained}/whole", f"--out={tmp_path}/infomin_tiny_digits.x"
    )
    images = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)
    np.save(tmp_path / "images.npy", images)
    embed = (
        "import numpy as np, zoo\n"
        f"model = zoo.load('{tmp_path}/infomin_tiny_digits.x')\n"
        f"np.save('{tmp_path}/features.npy', np.asarray(model(np.load('{tmp_path}/images.npy'))))\n"
    )
    python("jax", "-c", WITHOUT + embed)
    import tensorflow as tf

    served = tf.saved_model.load(str(tmp_path / "infomin_tiny_digits.x")).signatures["serving_default"]
    found = served(images=tf.constant(images))["embedding"].numpy()
    np.testing.assert_allclose(found, np.load(tmp_path / "features.npy"), atol=1e-5)


def test_the_loop_passes_the_same_tests_on_jax():
    """New epochs, resuming, several optimizers and refusals among them."""
    done = python("jax", "-m", "pytest", "-q", "-p", "no:cacheprovider", REFERENCE.parent / "train/test_loop.py")
    assert "1 skipped" in done.stdout, done.stdout[-1000:]


def test_what_jax_lacks_is_refused():
    done = python("jax", "-c", TRAIN, *FILES, "--workdir=/none", "--strategy=multi_worker", code=1)
    assert "expected `name` to be one of 'default', 'mirrored'" in done.stderr
    done = python("jax", "-c", TRAIN, *FILES, "--workdir=/none", "--gin_param=sources.load.name = 'cifar10'", code=1)
    assert "zoo-data export cifar10" in done.stderr
