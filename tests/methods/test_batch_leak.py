"""Leakage of keys through batch statistics, as `MomentumEncoder.leak` measures it."""

import keras
import numpy as np
import pytest
from keras import ops

from zoo.methods import memory, method, networks
from zoo.models import norm


class Network(keras.layers.Layer):
    """A linear map, normalized or not, to unit vectors."""

    def __init__(self, normalized):
        super().__init__()
        self.dense, self.norm = keras.layers.Dense(16, use_bias=False), norm.BatchNorm() if normalized else None
        self.dense.build((None, 12))
        if normalized:
            self.norm.build((None, 16))
        self.built = True

    def call(self, x, training=False):
        z = self.dense(x)
        return networks.unit(self.norm(z, training=training) if self.norm else z)


def measured(batch_size, bn_groups, normalized=True, images=256):
    """Returns the leak of keys that are encoded from the queries' own images, and whether no variable changed."""
    source, copy = Network(normalized), Network(normalized)
    encoder = memory.MomentumEncoder(copy, source, 0.9, bn_groups)
    encoder.check(method.Spec((), np.arange(1000), batch_size))
    before = [ops.convert_to_numpy(variable) for part in (source, copy) for variable in part.variables]
    views = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(images, 12)).astype("float32"))
    found = encoder.leak(source, views, views, 0.1)
    after = [ops.convert_to_numpy(variable) for part in (source, copy) for variable in part.variables]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    return {name: float(value) for name, value in found.items()}


def test_without_batch_norm_nothing_leaks():
    found = measured(8, 1, normalized=False)
    assert found["batch_leak"] == pytest.approx(0, abs=1e-5)
    assert found["batch_leak_error"] == pytest.approx(0, abs=1e-5)


def test_plain_batch_norm_leaks_and_the_more_the_smaller_the_batch():
    four, sixteen = measured(4, 1), measured(16, 1)
    assert four["batch_leak"] > 2 * sixteen["batch_leak"] > 10 * sixteen["batch_leak_error"] > 0


def test_two_groups_of_a_shuffled_batch_leak_less_than_one():
    plain, shuffled = measured(16, 1), measured(32, 2)  # of 16 images each
    assert abs(shuffled["batch_leak"]) < 0.8 * plain["batch_leak"]


def test_groups_of_as_many_images_as_there_are_groups_leak_nothing():
    assert measured(16, 4)["batch_leak"] == pytest.approx(0, abs=0.2 * measured(4, 1)["batch_leak"])


def test_too_few_images_tell_nothing():
    assert measured(128, 1, images=256) == {}
    assert measured(512, 8, images=100) == {}
    assert measured(512, 32, images=100).keys() == {"batch_leak", "batch_leak_error"}
