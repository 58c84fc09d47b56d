"""Initial weights: Keras' distributions, the same on every engine."""

import random

import keras
import numpy as np
import pytest

from zoo.models import convnet, heads, initial

SHAPES = ((3, 3, 40, 50), (700, 60), (90,))


@pytest.mark.parametrize("name", ["he_normal", "he_uniform", "glorot_uniform", "lecun_normal", "random_normal"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_distribution_is_that_of_keras(name, shape):
    initializer, original = initial.get(name), keras.initializers.get(name)
    assert type(initializer).__module__ == "zoo.models.initial"
    drawn, expected = initializer(shape), np.asarray(keras.ops.convert_to_numpy(original(shape)))
    assert drawn.shape == shape and drawn.dtype == np.float32
    # The deviation of n draws is known to about 1 / sqrt(2 n); the extremes of the bounded distributions are alike.
    assert drawn.std() == pytest.approx(expected.std(), rel=6 / np.sqrt(drawn.size))
    assert abs(drawn.mean()) < 5 * drawn.std() / np.sqrt(drawn.size)
    if name != "random_normal" and drawn.size > 1000:
        assert np.abs(drawn).max() == pytest.approx(np.abs(expected).max(), rel=0.02)


def test_variance_of_an_untruncated_normal():
    drawn = initial.VarianceScaling(2.0, "fan_out", "untruncated_normal", seed=0)((400, 200))
    assert drawn.var() == pytest.approx(2 / 200, rel=0.03) and np.abs(drawn).max() > 3 * drawn.std()


def test_a_seed_means_one_draw_and_no_seed_pythons():
    np.testing.assert_array_equal(initial.RandomNormal(seed=3)((4, 5)), initial.RandomNormal(seed=3)((4, 5)))
    random.seed(5)
    first, second = initial.fan_in(), initial.fan_in()
    random.seed(5)
    again = initial.fan_in()
    np.testing.assert_array_equal(first((4, 5)), again((4, 5)))
    assert np.abs(first((4, 5)) - second((4, 5))).max() > 0


def test_known_numbers_hold_on_every_engine():
    """Drawn once by NumPy's documented generator: whoever runs this, on whichever engine, has the same weights."""
    random.seed(0)
    encoder = convnet.convnet((8, 8, 1), (4, 8))
    head = heads.projector(8, (6, 4))
    kernels = [
        np.asarray(keras.ops.convert_to_numpy(v)) for v in (*encoder.weights, *head.weights) if "kernel" in v.path
    ]
    expected = []
    random.seed(0)
    for kernel in kernels:
        expected.append((initial.RandomNormal(stddev=0.01) if kernel.ndim == 2 else initial.fan_in())(kernel.shape))
    for kernel, drawn in zip(kernels, expected, strict=True):
        np.testing.assert_array_equal(kernel, drawn)


def test_others_are_left_alone():
    assert isinstance(initial.get("zeros"), keras.initializers.Zeros)
    initializer = initial.fan_in()
    assert initial.get(initializer) is initializer


def test_a_clone_has_weights_of_its_own_unless_a_seed_was_given():
    drawn, given = initial.get("he_normal"), initial.get(keras.initializers.HeNormal(seed=3))
    again = [type(each).from_config(each.get_config()) for each in (drawn, given)]
    assert np.abs(again[0]((4, 5)) - drawn((4, 5))).max() > 0
    np.testing.assert_array_equal(again[1]((4, 5)), given((4, 5)))
