import keras
import numpy as np
import pytest

from zoo import features
from zoo.data import sources
from zoo.methods import method as methods
from zoo.models import mlp


@pytest.fixture(scope="module")
def source():
    return sources.load("digits", "test").subset(np.arange(37))


@pytest.fixture(scope="module")
def encoder():
    model = mlp.mlp(image_shape=(8, 8, 1), widths=(6,))
    # So that it matters that moving averages are used: nothing may depend on who else is in a batch.
    for variable in model.variables:
        if "moving" in variable.path or "mean" in variable.path:
            variable.assign(variable + 0.3)
    return model


class Method:
    def __init__(self, *networks):
        self.networks = networks

    def encoders(self):
        return {network.name: network for network in self.networks}


def expected(encoder, source):
    return np.asarray(encoder(source.images.astype(np.float32) / 255, training=False))


@pytest.mark.parametrize("batch_size", [1, 10, 37, 256])
def test_batches_do_not_show(encoder, source, batch_size):
    found = features.extract(encoder, source, batch_size)
    assert found.dtype == np.float32 and found.shape == (37, 6)
    np.testing.assert_allclose(found, expected(encoder, source), atol=1e-5)


def test_a_method_stands_for_its_first_encoder(encoder, source):
    other = mlp.mlp(image_shape=(8, 8, 1), widths=(5,), name="other")
    method = Method(encoder, other)
    np.testing.assert_allclose(features.extract(method, source), expected(encoder, source), atol=1e-5)
    assert methods.encoder_named(method) is encoder and methods.encoder_named(method, "other") is other
    with pytest.raises(
        ValueError, match="Method: expected `encoder` to be one of 'mlp', 'other'. .*'oter'. Did you mean 'other'?"
    ):
        methods.encoder_named(method, "oter")


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


def test_one_graph_follows_a_model_that_learns(source):
    model = mlp.mlp(image_shape=(8, 8, 1), widths=(3,))
    extractor = features.Extractor(model, 10)
    before = extractor(source)
    model.trainable_variables[0].assign_add(np.ones(model.trainable_variables[0].shape))
    after = extractor(source)
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, expected(model, source), atol=1e-5)
    if keras.backend.backend() == "tensorflow":
        assert extractor._embed.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("scale", [16.0, 255.0, -2.0, np.nan])
def test_floats_out_of_range_are_refused(encoder, scale):
    images = np.full((2, 8, 8, 1), scale, np.float32)
    with pytest.raises(ValueError, match=r"Extractor: expected float images in \[0, 1\]; .* Received: images from"):
        features.extract(encoder, images)


def test_other_shapes_are_refused(encoder):
    message = r"expected examples of the shape \(8, 8, 1\) that 'mlp' takes.* Received: shape=\(28, 28, 1\)"
    with pytest.raises(ValueError, match=message):
        features.extract(encoder, np.zeros((2, 28, 28, 1), np.uint8))
    with pytest.raises(ValueError, match=r"one or more examples \[n, ...\]. Received: shape=\(0, 8, 8, 1\)"):
        features.extract(encoder, np.zeros((0, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="an array of uint8 or floats. Received: ndarray int64"):
        features.extract(encoder, np.zeros((2, 8, 8, 1), np.int64))


def test_models_that_are_none_are_refused(source):
    with pytest.raises(ValueError, match="Received: a model of type int"):
        features.extract(3, source)
    images = keras.Input((8, 8, 1))
    maps = keras.Model(images, keras.layers.Conv2D(2, 3)(images))
    with pytest.raises(ValueError, match=r"to return pooled features \[B, F\]. Received: output=\(256, 6, 6, 2\)"):
        features.extract(maps, source)
    with pytest.raises(ValueError, match="`batch_size` to be a positive integer. Received: batch_size=0"):
        features.extract("pixels", source, 0)


class Keyed:
    """A source whose batches carry more than images."""

    images, size = None, 37

    def __init__(self, **arrays):
        self.arrays = arrays

    def in_order(self, batch_size):
        for start in range(0, self.size, batch_size):
            yield {key: array[start : start + batch_size] for key, array in self.arrays.items()}

    def subset(self, rows):
        return Keyed(**{key: array[rows] for key, array in self.arrays.items()})


def test_networks_over_any_key():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(37, 5)) * 30
    depth = rng.integers(0, 256, (37, 4, 6, 1), np.uint8)
    source = Keyed(image=np.zeros((37, 8, 8, 1), np.uint8), vector=vectors, depth=depth)
    dense = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    found = features.Extractor(dense, 10, key="vector")(source)
    np.testing.assert_allclose(found, dense(vectors.astype(np.float32)), atol=1e-4)
    np.testing.assert_array_equal(features.extract(dense, vectors.astype(np.float32), 10), found)
    pool = keras.layers.GlobalAveragePooling2D()  # a layer, whose input shape is not known
    np.testing.assert_allclose(features.extract(pool, source, 10, key="depth"), depth.mean((1, 2)) / 255, atol=1e-5)
    np.testing.assert_array_equal(features.extract("pixels", source, key="vector"), vectors.astype(np.float32))
    with pytest.raises(ValueError, match="`key` to be one of 'image', 'vector', 'depth'. .* Did you mean 'vector'?"):
        features.extract(dense, source, key="vectors")
    with pytest.raises(ValueError, match=r"of the shape \(5,\) .* Received: shape=\(4, 6, 1\)"):
        features.extract(dense, source, key="depth")


def test_networks_with_several_inputs_are_refused():
    inputs = [keras.Input((3,)), keras.Input((4,))]
    both = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    with pytest.raises(ValueError, match="Extractor: expected a network with one input"):
        features.Extractor(both)


def test_rows_are_in_the_order_of_ids(encoder, source):
    part = source.subset(np.array([7, 2, 30]))
    whole = features.extract(encoder, source)
    np.testing.assert_allclose(features.extract(encoder, part), whole[[7, 2, 30]], atol=1e-6)


def test_a_cache_extracts_once(encoder, source, monkeypatch):
    calls = []
    monkeypatch.setattr(features.Extractor, "__call__", lambda self, given: calls.append(given) or np.eye(given.size))
    cache = features.Cache(16)
    rows = np.array([5, 1])
    part = cache.subset(source, rows)
    np.testing.assert_array_equal(part.ids, source.ids[rows])
    np.testing.assert_array_equal(cache(encoder, part), np.eye(37)[rows])
    assert cache(encoder, source) is cache(encoder, source)
    cache("pixels", part)
    cache(encoder, source.subset(rows))  # not made by the cache, so it is read
    assert [given.size for given in calls] == [37, 37, 2]
