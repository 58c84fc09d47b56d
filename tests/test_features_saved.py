"""Features of SavedModels, which only TensorFlow runs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo import features
from zoo.data import sources
from zoo.models import mlp


@pytest.fixture(scope="module")
def source():
    return sources.load("digits", "test").subset(np.arange(37))


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(0)
    return mlp.mlp(image_shape=(8, 8, 1), widths=(6,))


def expected(encoder, source):
    return np.asarray(encoder(source.images.astype(np.float32) / 255, training=False))


def saved(path, encoder, name="images", key="embedding", batch=None):
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([batch, 8, 8, 1], tf.float32, name=name)])
        def embed(self, images):
            return {key: encoder(images, training=False)}

    module = Module()
    module.variables_of_encoder = [variable.value for variable in encoder.variables]
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.embed})
    return path


def test_saved_models_by_path_and_loaded(encoder, source, tmp_path):
    path = saved(tmp_path / "model", encoder)
    wanted = expected(encoder, source)
    np.testing.assert_allclose(features.extract(path, source, 10), wanted, atol=1e-5)
    np.testing.assert_allclose(features.extract(str(path), source), wanted, atol=1e-5)
    np.testing.assert_allclose(features.extract(tf.saved_model.load(str(path)), source), wanted, atol=1e-5)


def test_saved_models_of_a_fixed_batch(encoder, source, tmp_path):
    path = saved(tmp_path / "model", encoder, batch=4)
    np.testing.assert_allclose(features.extract(path, source), expected(encoder, source), atol=1e-5)


def test_saved_models_with_other_signatures_are_refused(encoder, tmp_path):
    with pytest.raises(ValueError, match=r"from 'images' to 'embedding'. Received: .*outputs=\['features'\]"):
        features.Extractor(saved(tmp_path / "model", encoder, key="features"))


def test_a_path_without_a_saved_model_is_refused(source):
    with pytest.raises(
        ValueError, match="expected 'pixels' or the path of a SavedModel folder. Received: model='pixel'"
    ):
        features.extract("pixel", source)
