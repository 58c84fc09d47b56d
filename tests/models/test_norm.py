import keras
import numpy as np
import pytest
from keras import ops
from reference import batch_norm_numpy

from zoo import context, engine
from zoo.models import norm

SHAPES = ((6, 4, 3, 5), (7, 5), (4, 3, 5))
kernels = pytest.mark.parametrize("fused", (True, False))


@pytest.fixture
def kernel(fused, monkeypatch):
    if not fused:
        monkeypatch.setattr(type(engine.current()), "fused_batch_norm", lambda *arguments: None)
    elif keras.config.backend() != "tensorflow":
        pytest.skip("the fused kernel is TensorFlow's")


def drawn(shape, seed=0, shift=0.0):
    return (shift + np.random.default_rng(seed).normal(size=shape)).astype("float32")


def built(shape, **kwargs):
    layer = norm.BatchNorm(**kwargs)
    layer.build(shape)
    layer.gamma.assign(drawn(shape[-1:], 1, 1.0))
    layer.beta.assign(drawn(shape[-1:], 2))
    return layer


@kernels
@pytest.mark.parametrize("shape", SHAPES)
def test_training_is_the_papers_formula(kernel, shape):
    layer, x = built(shape, momentum=0.8), drawn(shape, shift=2.0)
    y = ops.convert_to_numpy(layer(x, training=True))
    expected, mean, variance = batch_norm_numpy.forward(x, np.array(layer.gamma), np.array(layer.beta))
    np.testing.assert_allclose(y, expected, atol=2e-5)
    np.testing.assert_allclose(np.array(layer.moving_mean), 0.2 * mean, rtol=1e-5)
    np.testing.assert_allclose(np.array(layer.moving_variance), 0.8 + 0.2 * variance, rtol=1e-5)


@kernels
@pytest.mark.parametrize("shape", SHAPES)
def test_inference_uses_the_averages(kernel, shape):
    layer, x = built(shape), drawn(shape)
    layer.moving_mean.assign(drawn(shape[-1:], 3))
    layer.moving_variance.assign(np.square(drawn(shape[-1:], 4)) + 0.1)
    gamma, beta, mean, variance = (np.array(v) for v in layer.weights)
    expected = gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta
    for kwargs in ({}, {"training": False}):
        np.testing.assert_allclose(ops.convert_to_numpy(layer(x, **kwargs)), expected, atol=1e-5)
    layer.trainable = False
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x, training=True)), expected, atol=1e-5)
    np.testing.assert_array_equal(np.array(layer.moving_mean), mean)


class Free(keras.layers.Layer):
    """Returns a weight, so that a step of gradient descent shows the gradient with respect to it."""

    def __init__(self, value):
        super().__init__()
        self.value = self.add_weight(shape=value.shape, initializer="zeros")
        self.value.assign(value)

    def call(self, ignored):
        return self.value + 0 * ignored


@kernels
# Not as a plain graph: there TensorFlow's dependency optimizer lets a lone layer of Keras' own ops read its gamma after
# the update, in one run of four, Keras' BatchNormalization too.
@pytest.mark.parametrize("how", ({"run_eagerly": True}, {"jit_compile": True}), ids=str)
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_gradients_are_the_papers_formula(kernel, shape, how):
    x, upstream = drawn(shape), drawn(shape, 5)
    free, layer = Free(x), built(shape)
    gamma, beta = np.array(layer.gamma), np.array(layer.beta)
    model = keras.Sequential([keras.Input(batch_shape=shape), free, layer])
    model.compile(keras.optimizers.SGD(1.0), loss=lambda true, y: ops.sum(true * y), **how)
    model.train_on_batch(upstream, upstream)
    expected = batch_norm_numpy.backward(x, gamma, upstream)
    steps = (x - np.array(free.value), gamma - np.array(layer.gamma), beta - np.array(layer.beta))
    for step, gradient in zip(steps, expected, strict=True):
        np.testing.assert_allclose(step, gradient, atol=3e-5)


@kernels
def test_a_large_mean_costs_no_digits(kernel):
    x = drawn((64, 3), shift=1000.0)
    y = ops.convert_to_numpy(norm.BatchNorm()(x, training=True))
    np.testing.assert_allclose(y.std(axis=0), 1.0, atol=1e-3)


@kernels
@pytest.mark.parametrize("dtype", ("bfloat16", "float16"))
def test_half_precision_keeps_statistics_in_float32(kernel, dtype):
    layer = norm.BatchNorm(dtype=f"mixed_{dtype}")
    x = ops.cast(drawn((64, 2, 2, 3), shift=1.0), dtype)
    y = layer(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    assert all(v.dtype == "float32" for v in layer.weights)
    expected, mean, variance = batch_norm_numpy.forward(ops.convert_to_numpy(ops.cast(x, "float32")), 1, 0)
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(y, "float32")), expected, atol=2e-2)
    np.testing.assert_allclose(np.array(layer.moving_mean), 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(np.array(layer.moving_variance), 0.9 + 0.1 * variance, rtol=1e-4)


@kernels
def test_a_single_value_leaves_the_variance_finite(kernel):
    layer = norm.BatchNorm()
    layer(drawn((1, 4)), training=True)
    np.testing.assert_allclose(np.array(layer.moving_variance), 0.9, rtol=1e-6)


def test_float64_is_not_narrowed():
    if keras.config.backend() == "jax":
        pytest.skip("JAX has float64 only where it is switched on")
    x = np.random.default_rng(0).normal(size=(9, 4))
    y = ops.convert_to_numpy(norm.BatchNorm(dtype="float64")(x, training=True))
    np.testing.assert_allclose(y, batch_norm_numpy.forward(x, 1, 0)[0], atol=1e-12)


def test_center_and_scale_are_options():
    layer = norm.BatchNorm(center=False, scale=False)
    y = ops.convert_to_numpy(layer(drawn((9, 4)), training=True))
    np.testing.assert_allclose(y, batch_norm_numpy.forward(drawn((9, 4)), 1, 0)[0], atol=1e-5)
    assert [v.name for v in layer.weights] == ["moving_mean", "moving_variance"]


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="Keras' serializer imports TensorFlow")
def test_configuration_survives():
    layer = norm.BatchNorm(momentum=0.5, epsilon=1e-3, center=False, gamma_initializer="zeros", name="bn")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    again.build((None, 3))
    np.testing.assert_array_equal(np.array(again.gamma), 0)


def test_errors():
    with pytest.raises(ValueError, match=r"BatchNorm: expected `momentum` in \[0, 1\]. Received: momentum=2."):
        norm.BatchNorm(momentum=2)
    with pytest.raises(ValueError, match="Received: epsilon=0."):
        norm.BatchNorm(epsilon=0)
    with pytest.raises(ValueError, match="known C"):
        norm.BatchNorm().build((None, None))


@pytest.mark.parametrize("shape", [(8, 4, 4, 3), (8, 3)])
def test_groups_are_normalized_separately(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32") * np.arange(1, 9).reshape(
        8, *[1] * (len(shape) - 1)
    )
    whole, grouped = norm.BatchNorm(), norm.BatchNorm()
    model = keras.Sequential([grouped])
    model(x[:1])
    expected = np.concatenate(
        [ops.convert_to_numpy(norm.BatchNorm()(x[i : i + 2], training=True)) for i in (0, 2, 4, 6)]
    )
    with context.using(bn_groups=4):
        found = model(x, training=True)
        assert norm_of(grouped, x).shape == model(x).shape
    np.testing.assert_allclose(found, expected, atol=1e-5)
    means, variances = [], []
    for i in (0, 2, 4, 6):
        alone = norm.BatchNorm()
        alone(x[i : i + 2], training=True)
        means.append(ops.convert_to_numpy(alone.moving_mean))
        variances.append(ops.convert_to_numpy(alone.moving_variance))
    np.testing.assert_allclose(grouped.moving_mean, np.mean(means, axis=0), atol=1e-6)
    np.testing.assert_allclose(grouped.moving_variance, np.mean(variances, axis=0), rtol=1e-5)
    whole(x, training=True)
    assert np.abs(whole.moving_variance - grouped.moving_variance).max() > 1e-3
    np.testing.assert_allclose(model(x), norm_of(grouped, x), atol=1e-5)  # inference knows no groups


def norm_of(layer, x):
    mean, variance = (ops.convert_to_numpy(v) for v in (layer.moving_mean, layer.moving_variance))
    return (x - mean) / np.sqrt(variance + 1e-5)


def test_refuses_groups_of_unequal_size():
    layer = norm.BatchNorm()
    with (
        pytest.raises(
            ValueError, match="BatchNorm: expected `bn_groups` that divide .* 1 x 6 .* Received: bn_groups=4."
        ),
        context.using(bn_groups=4),
    ):
        layer(np.ones((6, 3), "float32"), training=True)
