"""Models that Keras saved load in a new process that has imported `zoo`, in either order.

TensorFlow alone runs these: to save a model, Keras imports it on every engine.
"""

import inspect
import subprocess
import sys

import keras
import numpy as np
import pytest

import zoo
from zoo.models import convert, convnet, initial, norm, serializable, standardize

LOAD = """
import sys, numpy as np
import {imports}
import keras
folder = sys.argv[1]
images = np.load(folder + "/images.npy")
np.save(folder + "/found.npy", keras.models.load_model(folder + "/model.keras").predict(images, verbose=0))
"""


def test_every_registered_class_is_listed():
    found = [
        member
        for module in (convert, initial, norm, standardize)
        for _, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__ and keras.saving.get_registered_name(member).startswith("zoo>")
    ]
    assert set(found) == set(serializable.CLASSES)


@pytest.mark.parametrize("imports", ["keras, zoo", "zoo, keras"])
def test_a_saved_model_loads_in_a_new_process(imports, tmp_path):
    encoder = convnet.convnet((8, 8, 3), (4, 8), mean=0.4, std=0.3, space="ydbdr", channels=(0, 1))
    model = keras.Sequential([encoder, keras.layers.Dense(2)])
    images = np.random.default_rng(0).random((3, 8, 8, 3), dtype="float32")
    np.save(tmp_path / "images.npy", images)
    model.save(tmp_path / "model.keras")
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(imports=imports), tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), model.predict(images, verbose=0), atol=1e-5)


def test_a_published_encoder_with_a_classifier_loads_again(tmp_path):
    model = zoo.load("simclr_convnet_digits.e100", include_top=True, classes=2)
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).random((3, 8, 8, 1), dtype="float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-6)
