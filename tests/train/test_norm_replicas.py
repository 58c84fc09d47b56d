import keras
import numpy as np
import pytest

if keras.config.backend() != "tensorflow":
    pytest.skip("tf.distribute is TensorFlow's", allow_module_level=True)

import tensorflow as tf

from zoo.models import norm

RNG = np.random.default_rng(0)
IMAGES = (3 + RNG.normal(size=(8, 4, 4, 5))).astype("float32")
ROWS = RNG.normal(size=(8, 5)).astype("float32")


def mirrored(count):
    # A process can join collectives of one group size only, so smaller groups than that of all devices reduce by copy.
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    copying = tf.distribute.ReductionToOneDevice() if count < len(devices) else None
    return tf.distribute.MirroredStrategy(devices[:count], cross_device_ops=copying)


def stepped(x, upstream, sizes):
    """Outputs, gradients and weights after a training step, the batch cut into one part per replica."""
    strategy = mirrored(len(sizes))
    with strategy.scope():
        layer = norm.BatchNorm()
        layer.build(x.shape)
        layer.gamma.assign(np.linspace(0.5, 1.5, x.shape[-1]))
    cuts = np.cumsum(sizes)[:-1]
    parts = list(zip(np.split(x, cuts), np.split(upstream, cuts), strict=True))

    def distributed(index):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group][index])
        )

    def step(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(upstream * tf.sin(y))
        gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
        context = tf.distribute.get_replica_context()
        return y, gradients[0], context.all_reduce("SUM", gradients[1]), context.all_reduce("SUM", gradients[2])

    y, d_x, d_gamma, d_beta = tf.function(lambda a, b: strategy.run(step, (a, b)))(distributed(0), distributed(1))
    copies = [[np.array(c) for c in strategy.experimental_local_results(v.value)] for v in layer.weights]
    for copy in copies:
        assert all(np.array_equal(copy[0], other) for other in copy)

    def joined(values):
        return np.concatenate([part.numpy() for part in strategy.experimental_local_results(values)])

    first = [strategy.experimental_local_results(value)[0].numpy() for value in (d_gamma, d_beta)]
    return [joined(y), joined(d_x), *first, *(copy[0] for copy in copies)]


@pytest.mark.parametrize("sizes", ((4, 4), (2, 2, 2, 2), (5, 3), (3, 1, 2, 2)), ids=str)
@pytest.mark.parametrize("x", (IMAGES, ROWS), ids=("maps", "rows"))
def test_replicas_equal_one_device(x, sizes):
    upstream = np.random.default_rng(1).normal(size=x.shape).astype("float32")
    names = ("y", "d_x", "d_gamma", "d_beta", "gamma", "beta", "moving_mean", "moving_variance")
    alone, together = stepped(x, upstream, (len(x),)), stepped(x, upstream, sizes)
    assert not np.allclose(alone[-1], 1)
    for name, expected, value in zip(names, alone, together, strict=True):
        # A sum over the batch may come out near nought: it is exact to its terms' size, not to its own.
        np.testing.assert_allclose(value, expected, atol=1e-5 * np.abs(expected).max(), rtol=0, err_msg=name)


def test_inference_needs_no_other_replica():
    strategy = mirrored(2)
    with strategy.scope():
        layer = norm.BatchNorm()
        layer.build(IMAGES.shape)
    y = strategy.run(lambda: layer(tf.constant(IMAGES)))
    for part in strategy.experimental_local_results(y):
        np.testing.assert_allclose(part, IMAGES / np.sqrt(1 + 1e-5), rtol=1e-5)
