"""Workers share the extraction of features, and all of them get the features of all images."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from reference import family, workers

from zoo.data import sources
from zoo.methods import method
from zoo.train import extraction

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


@pytest.mark.parametrize(
    ("fields", "views", "message"),
    [
        ({"image": (8, 8, 3)}, (8, 8, 1), r"images of 1 channels, .* Received: image_shape=\(8, 8, 3\)"),
        (
            {"photo": (8, 8, 1)},
            (8, 8, 1),
            r"a field 'image', to extract from. Received: fields=\['id', 'label', 'photo'\]",
        ),
        ({"image": (1, 1, 1)}, (8, 8, 1), "PCL: expected images of at least"),
    ],
)
def test_images_that_the_encoder_cannot_take_are_refused_at_the_start(fields, views, message):
    learner = family.METHODS["pcl"]()
    learner.begin(method.Spec((views,) * 2, np.arange(64), 8))
    data = sources.from_arrays({name: np.zeros((64, *shape), np.uint8) for name, shape in fields.items()})
    with pytest.raises(ValueError, match=message):
        extraction.check(learner, data)


def test_methods_that_extract_nothing_take_any_data():
    learner = family.METHODS["byol"]()
    learner.begin(method.Spec(((8, 8, 1),) * 2, np.arange(64), 8))
    extraction.check(learner, sources.from_arrays({"photo": np.zeros((64, 2, 2, 3), np.uint8)}))
