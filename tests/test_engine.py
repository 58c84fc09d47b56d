import keras
import numpy as np
import pytest
from keras import ops

from zoo import engine

TRACED = pytest.mark.skipif(keras.backend.backend() not in ("tensorflow", "jax"), reason="nothing else traces")


@TRACED
def test_a_node_is_traced_once_for_every_signature():
    traced = []

    @engine.current().node
    def doubled(pair):
        traced.append(tuple(pair[0].shape))
        return ops.add(pair[0], pair[1])

    @engine.current().compiled
    def several(x):
        long = doubled((x, doubled((x, x))))  # 3 x
        short = doubled((x[:2], x[:2]))
        return doubled((long, x)), short

    x = ops.convert_to_tensor(np.arange(3.0, dtype="float32"))
    long, short = several(x)
    np.testing.assert_array_equal(long, 4 * np.arange(3))
    np.testing.assert_array_equal(short, 2 * np.arange(2))
    assert sorted(traced) == [(2,), (3,)]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX would compile every operation by itself")
def test_a_node_is_a_plain_function_outside_of_graphs():
    called = []
    triple = engine.current().node(lambda x: called.append(x) or 3 * x)
    for value in (1.0, 2.0):
        np.testing.assert_array_equal(triple(ops.convert_to_tensor(np.full(2, value, "float32"))), [3 * value] * 2)
    assert len(called) == 2
