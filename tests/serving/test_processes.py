"""Exported folders in processes of their own: without Keras, and under another engine."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from zoo.models import convnet
from zoo.serving import export

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
WITHOUT_KERAS = """
import sys
sys.modules["keras"] = sys.modules["tf_keras"] = None  # any import of them now fails
import numpy, tensorflow
folder, answers = sys.argv[1:]
loaded = tensorflow.saved_model.load(folder)
with numpy.load(answers) as given:
    images = tensorflow.constant(given["images"])
    numpy.testing.assert_allclose(loaded(images), given["embedding"], atol=1e-5)
    answer = loaded.signatures["serving_default"](images=images)
    numpy.testing.assert_allclose(answer["embedding"], given["embedding"], atol=1e-5)
    for batch in (1, 7, 64):
        rows = numpy.arange(batch) % len(given["images"])
        answer = loaded.signatures["features"](images=tensorflow.gather(images, rows))
        assert set(answer) > {"embedding", "P1"}
        numpy.testing.assert_allclose(answer["embedding"], given["embedding"][rows], atol=1e-5)
        files = [tensorflow.io.encode_png(pixels) for pixels in given["pixels"][rows]]
        answer = loaded.signatures["encode_bytes"](image_bytes=tensorflow.stack(files))
        numpy.testing.assert_allclose(answer["embedding"], given["of_pixels"][rows], atol=1e-5)
with tensorflow.GradientTape() as tape:
    loss = tensorflow.reduce_mean(loaded(images, training=True) ** 2)
assert None not in tape.gradient(loss, loaded.trainable_variables)
try:
    import keras
except ImportError:
    print("no keras, same features")
"""
UNDER_JAX = """
import sys
import keras, numpy, zoo
assert keras.backend.backend() == "jax"
folder, answers = sys.argv[1:]
model = zoo.load(folder)
with numpy.load(answers) as given:
    numpy.testing.assert_allclose(model(given["images"], training=False), given["embedding"], atol=1e-4)
assert "tensorflow" not in sys.modules
print("jax, same features")
"""
SAVED_UNDER_JAX = """
import sys
import keras, numpy
from zoo.models import convnet
folder, answers = sys.argv[1:]
model = convnet.convnet(image_shape=(8, 8, 1), widths=(4, 8))
with numpy.load(answers) as given:
    images = given["images"]
for _ in range(5):
    model(images, training=True)  # moves the moving averages away from where they began
model.save_weights(folder + ".weights.h5")
numpy.save(folder + ".npy", numpy.asarray(model(images, training=False)))
assert "tensorflow" not in sys.modules
print("saved")
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    encoder = convnet.convnet(image_shape=(8, 8, 1), widths=(4, 8), mean=0.3, std=0.4)
    card = {
        "name": "m",
        "description": "A test.",
        "license": {"code": "a", "weights": "b", "data": "c"},
        "citation": "",
    }
    export.export(encoder, root / "m", card, warmup=False)
    images = np.random.default_rng(0).random((7, 8, 8, 1), dtype="float32")
    pixels = np.random.default_rng(1).integers(0, 256, images.shape, dtype=np.uint8)
    answers = {"embedding": encoder(images), "of_pixels": encoder(pixels.astype("float32") / 255)}
    np.savez(root / "answers.npz", images=images, pixels=pixels, **answers)
    return str(root / "m"), str(root / "answers.npz")


def run(script, arguments, **environment):
    command = [sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_saved_model_needs_no_keras(exported):
    assert "no keras, same features" in run(WITHOUT_KERAS, exported)


@pytest.mark.slow
def test_the_weights_give_the_same_features_under_jax(exported):
    pytest.importorskip("jax")
    assert "jax, same features" in run(UNDER_JAX, exported, KERAS_BACKEND="jax")


@pytest.mark.slow
def test_weights_saved_under_jax_give_the_same_features_here(exported, tmp_path):
    pytest.importorskip("jax")
    path = str(tmp_path / "jax")
    assert "saved" in run(SAVED_UNDER_JAX, [path, exported[1]], KERAS_BACKEND="jax")
    model = convnet.convnet(image_shape=(8, 8, 1), widths=(4, 8))
    model.load_weights(path + ".weights.h5")
    with np.load(exported[1]) as given:
        ours = model(given["images"], training=False)
    np.testing.assert_allclose(ours, np.load(path + ".npy"), atol=1e-4)
    assert np.ptp(np.load(path + ".npy")) > 0.01
