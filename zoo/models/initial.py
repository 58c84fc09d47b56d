"""Initial weights, drawn by NumPy: a seed then means the same weights on every engine.

Keras' own initializers leave the drawing to the engine, and each draws differently. These have their formulas and their
configuration; where no seed is given they take one as Keras does, from what `random.seed` seeds.
"""

import math

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="zoo")
class VarianceScaling(keras.initializers.VarianceScaling):
    """`keras.initializers.VarianceScaling`, whose arguments and formula it has; He's and Glorot's are kinds of it."""

    def __call__(self, shape, dtype=None):
        """Draws weights, the last two axes fan in and out: NumPy array of `shape`."""
        space = math.prod(shape[:-2])
        fan_in, fan_out = (space * shape[-2], space * shape[-1]) if len(shape) > 1 else (shape[0], shape[0])
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance, random = self.scale / max(1.0, fan), np.random.default_rng(self.seed)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return random.uniform(-limit, limit, shape).astype(dtype or "float32")
        if self.distribution == "untruncated_normal":
            return random.normal(0, math.sqrt(variance), shape).astype(dtype or "float32")
        # What is cut off at two standard deviations has 0.8796 of the deviation left.
        return _truncated(random, shape, math.sqrt(variance) / 0.87962566103423978).astype(dtype or "float32")


@keras.saving.register_keras_serializable(package="zoo")
class RandomNormal(keras.initializers.RandomNormal):
    """`keras.initializers.RandomNormal`, whose arguments it has."""

    def __call__(self, shape, dtype=None):
        """Draws weights, NumPy array of `shape`."""
        return np.random.default_rng(self.seed).normal(self.mean, self.stddev, shape).astype(dtype or "float32")


def _truncated(random, shape, deviation):
    """Normal draws, those beyond two deviations drawn again."""
    drawn = random.normal(size=shape)
    while (beyond := np.abs(drawn) > 2).any():
        drawn[beyond] = random.normal(size=int(beyond.sum()))
    return drawn * deviation


def fan_in():
    """The initializer of the zoo's layers, Keras' `lecun_normal`: truncated normal, variance 1 / fan-in."""
    return VarianceScaling(1.0, "fan_in", "truncated_normal")


def get(initializer):
    """What `keras.initializers.get` makes of a name, a configuration or an object; drawn by NumPy where known."""
    found = keras.initializers.get(initializer)
    if isinstance(found, (VarianceScaling, RandomNormal)):
        return found
    if isinstance(found, keras.initializers.VarianceScaling):
        return VarianceScaling(found.scale, found.mode, found.distribution, seed=_given(found))
    if isinstance(found, keras.initializers.RandomNormal):
        return RandomNormal(found.mean, found.stddev, seed=_given(found))
    return found


def _given(initializer):
    """The seed that was asked for, or None: what was drawn instead must not become part of a layer's configuration."""
    return initializer.get_config()["seed"]
