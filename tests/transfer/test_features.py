import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.data import sources
from zoo.models import mlp
from zoo.transfer import features


@pytest.fixture(scope="module")
def source():
    return sources.load("digits", "test").subset(np.arange(37))


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(0)
    model = mlp.mlp(image_shape=(8, 8, 1), widths=(6,))
    # So that it matters that moving averages are used: nothing may depend on who else is in a batch.
    for variable in model.variables:
        if "moving" in variable.path or "mean" in variable.path:
            variable.assign(variable + 0.3)
    return model


class Method:
    def __init__(self, network):
        self.network = network

    def feature_extractor(self):
        return self.network


def expected(encoder, source):
    return np.asarray(encoder(source.images.astype(np.float32) / 255, training=False))


@pytest.mark.parametrize("batch_size", [1, 10, 37, 256])
def test_batches_do_not_show(encoder, source, batch_size):
    found = features.extract(encoder, source, batch_size)
    assert found.dtype == np.float32 and found.shape == (37, 6)
    np.testing.assert_allclose(found, expected(encoder, source), atol=1e-5)


def test_a_method_is_judged_by_its_extractor(encoder, source):
    np.testing.assert_allclose(features.extract(Method(encoder), source), expected(encoder, source), atol=1e-5)


def test_bytes_and_floats_are_the_same_images(encoder, source):
    floats = source.images.astype(np.float64) / 255
    np.testing.assert_allclose(features.extract(encoder, floats), features.extract(encoder, source.images), atol=1e-5)


def test_streamed_sources_are_read_in_order(encoder, source):
    class Streamed:
        images, size, image_shape = None, source.size, source.image_shape
        in_order = staticmethod(source.in_order)

    np.testing.assert_allclose(features.extract(encoder, Streamed(), 10), expected(encoder, source), atol=1e-5)


@pytest.mark.parametrize("model", ["pixels", None])
def test_pixels(source, model):
    found = features.extract(model, source)
    np.testing.assert_allclose(found, source.images.reshape(37, 64) / 255.0, atol=1e-6)
    assert found.dtype == np.float32 and found.max() <= 1


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
    with pytest.raises(ValueError, match=r"from 'images' to 'embedding'. Received: .* to \['features'\]"):
        features.Extractor(saved(tmp_path / "model", encoder, key="features"))


def test_one_graph_follows_a_model_that_learns(source):
    model = mlp.mlp(image_shape=(8, 8, 1), widths=(3,))
    extractor = features.Extractor(model, 10)
    before = extractor(source)
    model.trainable_variables[0].assign_add(tf.ones_like(model.trainable_variables[0]))
    after = extractor(source)
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, expected(model, source), atol=1e-5)
    assert extractor._embed.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("scale", [16.0, 255.0, -2.0, np.nan])
def test_floats_out_of_range_are_refused(encoder, scale):
    images = np.full((2, 8, 8, 1), scale, np.float32)
    with pytest.raises(ValueError, match=r"extract: expected float images in \[0, 1\]; .* Received: images from"):
        features.extract(encoder, images)


def test_other_shapes_are_refused(encoder):
    message = r"expected images of shape \(8, 8, 1\) .* Received: shape=\(28, 28, 1\)"
    with pytest.raises(ValueError, match=message):
        features.extract(encoder, np.zeros((2, 28, 28, 1), np.uint8))
    with pytest.raises(ValueError, match=r"one or more images \[n, H, W, C\]. Received: shape=\(8, 8, 1\)"):
        features.extract(encoder, np.zeros((8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="uint8 or float images. Received: ndarray int64"):
        features.extract(encoder, np.zeros((2, 8, 8, 1), np.int64))


def test_models_that_are_none_are_refused(source, tmp_path):
    with pytest.raises(ValueError, match="Received: model of type int"):
        features.extract(3, source)
    with pytest.raises(
        ValueError, match="expected 'pixels' or the path of a SavedModel folder. Received: model='pixel'"
    ):
        features.extract("pixel", source)
    images = keras.Input((8, 8, 1))
    maps = keras.Model(images, keras.layers.Conv2D(2, 3)(images))
    with pytest.raises(ValueError, match=r"pooled features \[B, F\] .* Received: an output of shape"):
        features.extract(maps, source)
    with pytest.raises(ValueError, match="integer >= 1. Received: batch_size=0"):
        features.extract("pixels", source, 0)
