"""Workers share the extraction of features, and all of them get the features of all images."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from reference import workers

PROBE = pathlib.Path(__file__).parent.parent / "reference" / "extraction_probe.py"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_share_the_images_and_receive_all_features(tmp_path):
    cluster = {"worker": [f"localhost:{port}" for port in workers.free_ports(2)]}
    started = []
    for index in range(2):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(task)}
        command = [sys.executable, PROBE, tmp_path]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for process in started:
        errors = process.communicate(timeout=250)[1]
        assert process.returncode == 0, errors[-3000:]
    first, second = (np.load(tmp_path / f"{index}.npz") for index in range(2))
    whole = first["whole"]
    assert whole.shape == (301, 4) and len(np.unique(whole[:, 0])) > 250
    for rows in (first["rows"], first["again"], second["rows"], second["again"]):
        np.testing.assert_allclose(rows, whole, rtol=1e-5)
