"""Seven small methods, each of which needs another part of the interface, on both engines and on replicas.

Each is trained whole, and resumed in the middle, on replicas two of them: `interface_probe` compares bit for bit.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from reference import small_methods

REFERENCE = pathlib.Path(__file__).parent.parent / "reference"
NAMES = ["MultiCrop", "SlowTarget", "Labels", "Clusters", "Adversary", "FineTuning", "Bound"]


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """Function of engine and number of replicas, to the losses of all steps by method."""
    found = {}

    def run(engine, replicas):
        if (engine, replicas) not in found:
            folder = tmp_path_factory.mktemp(f"{engine}{replicas}")
            environment = {**os.environ, "KERAS_BACKEND": engine}
            environment["PYTHONPATH"] = os.pathsep.join([str(REFERENCE.parent), os.environ.get("PYTHONPATH", "")])
            command = [sys.executable, REFERENCE / "interface_probe.py", folder, str(replicas)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-3000:]
            found[engine, replicas] = json.loads((folder / "losses.json").read_text())
        return found[engine, replicas]

    return run


def test_every_small_method_is_short():
    text = pathlib.Path(small_methods.__file__).read_text()
    lengths = {part.split("(")[0]: len(part.rstrip().splitlines()) for part in text.split("\nclass ")[1:]}
    assert list(lengths) == NAMES
    assert max(lengths.values()) <= 40, lengths


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("engine", "replicas"), [("tensorflow", 2), ("jax", 1), ("jax", 2)])
def test_small_methods_train_alike_everywhere_and_resume(engine, replicas, losses):
    expected, found = losses("tensorflow", 1), losses(engine, replicas)
    assert list(found) == list(expected) == NAMES
    for name in NAMES:
        assert len(expected[name]) == 10 and np.std(expected[name]) > 0
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-3, err_msg=name)
