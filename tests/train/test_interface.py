"""Small methods, each of which needs another part of the interface, and real ones, on both engines and on replicas.

Each is trained whole, and resumed in the middle, on replicas some of them: `interface_probe` compares bit for bit.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from reference import family, small_methods

REFERENCE = pathlib.Path(__file__).parent.parent / "reference"
SMALL = ["MultiCrop", "SlowTarget", "Labels", "Clusters", "Adversary", "FineTuning", "Bound"]


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """Function of engine, number of replicas and family, to the losses of all steps by method."""
    found = {}

    def run(engine, replicas, of):
        if (engine, replicas, of) not in found:
            folder = tmp_path_factory.mktemp(f"{of}{engine}{replicas}")
            environment = {**os.environ, "KERAS_BACKEND": engine}
            environment["PYTHONPATH"] = os.pathsep.join([str(REFERENCE.parent), os.environ.get("PYTHONPATH", "")])
            command = [sys.executable, REFERENCE / "interface_probe.py", folder, str(replicas), of]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-3000:]
            found[engine, replicas, of] = json.loads((folder / "losses.json").read_text())
        return found[engine, replicas, of]

    return run


def test_every_small_method_is_short():
    text = pathlib.Path(small_methods.__file__).read_text()
    lengths = {part.split("(")[0]: len(part.rstrip().splitlines()) for part in text.split("\nclass ")[1:]}
    assert list(lengths) == SMALL
    assert max(lengths.values()) <= 40, lengths


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("engine", "replicas", "of"),
    [
        ("tensorflow", 2, "small"),
        ("jax", 1, "small"),
        ("jax", 2, "small"),
        ("tensorflow", 2, "real"),
        ("jax", 1, "real"),
    ],
)
def test_methods_train_alike_everywhere_and_resume(engine, replicas, of, losses):
    expected, found = losses("tensorflow", 1, of), losses(engine, replicas, of)
    assert list(found) == list(expected) == {"small": SMALL, "real": list(family.METHODS)}[of]
    for name in found:
        assert len(expected[name]) == {"small": 10, "real": 20}[of] and np.std(expected[name]) > 0
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-3, atol=1e-5, err_msg=name)
