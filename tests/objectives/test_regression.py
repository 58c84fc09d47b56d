import numpy as np
from keras import ops
from reference import autodiff, memory_numpy

from zoo.objectives import regression

P, T = (memory_numpy.unit(np.random.default_rng(seed).normal(size=(6, 4))) for seed in (1, 2))


def distance(a, b):
    return ops.convert_to_numpy(
        regression.squared_distance(*(ops.convert_to_tensor(z.astype("float32")) for z in (a, b)))
    )


def test_is_the_squared_distance():
    np.testing.assert_allclose(distance(P, T), np.sum((P - T) ** 2, axis=1), rtol=1e-5)


def test_lies_between_equal_and_opposite_vectors():
    np.testing.assert_allclose(distance(P, P), 0, atol=1e-6)
    np.testing.assert_allclose(distance(P, -P), 4, rtol=1e-6)


def test_no_gradient_flows_to_the_target():
    _, (predicted, target) = autodiff.value_and_gradients(
        lambda p, t: regression.squared_distance(p, t) + 0 * ops.sum(t, axis=1), P, T
    )
    np.testing.assert_allclose(predicted, -2 * T * np.arange(1, 7)[:, None], rtol=1e-5)
    np.testing.assert_array_equal(target, 0)
