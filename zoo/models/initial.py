"""Initial weights, drawn by NumPy, so that a seed gives the same weights on every engine.

Keras' own initializers leave the drawing to the engine, and every engine draws differently. The initializers here have
the formulas and the configuration of Keras'. Without a seed they take one from the generator that `random.seed` seeds,
as Keras' do.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="zoo")
class VarianceScaling(keras.initializers.VarianceScaling):
    """Draws as `keras.initializers.VarianceScaling`, with the same arguments; He's and Glorot's are special cases."""

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        """Returns weights of `shape`, whose last two axes are the inputs and the outputs of the layer."""
        space = math.prod(shape[:-2])
        fan_in, fan_out = (space * shape[-2], space * shape[-1]) if len(shape) > 1 else (shape[0], shape[0])
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance, random = self.scale / max(1.0, fan), np.random.default_rng(self.seed)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return random.uniform(-limit, limit, shape).astype(dtype or "float32")
        if self.distribution == "untruncated_normal":
            return random.normal(0, math.sqrt(variance), shape).astype(dtype or "float32")
        # A normal distribution that is cut off at two standard deviations keeps 0.8796 of its deviation.
        return _truncated(random, shape, math.sqrt(variance) / 0.87962566103423978).astype(dtype or "float32")


@keras.saving.register_keras_serializable(package="zoo")
class RandomNormal(keras.initializers.RandomNormal):
    """Draws as `keras.initializers.RandomNormal`, with the same arguments."""

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        """Returns weights of `shape`."""
        return np.random.default_rng(self.seed).normal(self.mean, self.stddev, shape).astype(dtype or "float32")


def fan_in() -> VarianceScaling:
    """Returns the default initializer of the zoo, Keras' `lecun_normal`: truncated normal, variance 1 / fan-in."""
    return VarianceScaling(1.0, "fan_in", "truncated_normal")


def get(initializer: Any) -> Any:
    """Returns an initializer by its name, its configuration or itself; it draws by NumPy if this module has its kind.

    Args:
        initializer: see `keras.initializers.get`.
    """
    found = keras.initializers.get(initializer)
    if isinstance(found, (VarianceScaling, RandomNormal)):
        return found
    if isinstance(found, keras.initializers.VarianceScaling):
        return VarianceScaling(found.scale, found.mode, found.distribution, seed=_given_seed(found))
    if isinstance(found, keras.initializers.RandomNormal):
        return RandomNormal(found.mean, found.stddev, seed=_given_seed(found))
    return found


def _truncated(random: np.random.Generator, shape: Sequence[int], deviation: float) -> np.ndarray:
    """Returns normal draws; those beyond two deviations are drawn again."""
    drawn = random.normal(size=shape)
    while (beyond := np.abs(drawn) > 2).any():
        drawn[beyond] = random.normal(size=int(beyond.sum()))
    return drawn * deviation


def _given_seed(initializer: Any) -> Any:
    """Returns the seed that the caller gave, or None; a seed that Keras drew must not get into the configuration."""
    return initializer.get_config()["seed"]
