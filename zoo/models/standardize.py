"""Mean and standard deviation as a layer, so that every model of the zoo takes images in [0, 1]."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from zoo import checks


@keras.saving.register_keras_serializable(package="zoo")
class Standardize(keras.layers.Layer):
    """Subtracts a mean and divides by a standard deviation, `[B, H, W, C] -> [B, H, W, C]`.

    An eager call warns about images whose values cannot be in [0, 1], because the features of such images are wrong but
    look plausible. In a graph there is no such check.

    Args:
        mean: number, or one per channel, in units of images in [0, 1].
        std: positive number, or one per channel.
        **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(self, mean: float | Sequence[float] = 0.0, std: float | Sequence[float] = 1.0, **kwargs: Any):
        # Under a mixed policy pixels stay float32 until they are standardized: bfloat16 keeps 8 bits of them.
        super().__init__(autocast=False, **kwargs)
        self.mean = _numbers("mean", mean)
        self.std = _numbers("std", std)
        checks.require(all(value > 0 for value in self.std), "Standardize", "a positive standard deviation", std=std)

    def build(self, input_shape: tuple) -> None:
        """Checks that there are as many numbers as channels."""
        channels = input_shape[-1]
        for name, values in (("mean", self.mean), ("std", self.std)):
            expected = f"`{name}` to be 1 number, or one for each of {channels} channels"
            checks.require(len(values) in (1, channels), "Standardize", expected, **{name: values})

    def call(self, images: Any) -> Any:
        """Returns standardized images in the compute dtype, `[B, H, W, C]`."""
        if _is_concrete(images):
            warn_of_range(float(ops.max(images)))
        x = ops.cast(images, keras.backend.result_type(self.variable_dtype, "float32"))  # [B, H, W, C]
        if self.mean != (0.0,):
            x = x - ops.convert_to_tensor(self.mean, dtype=x.dtype)
        if self.std != (1.0,):
            x = x / ops.convert_to_tensor(self.std, dtype=x.dtype)
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the shape of the images."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "mean": list(self.mean), "std": list(self.std)}


def warn_of_range(largest: float) -> None:
    """Warns if images with this largest value cannot be in [0, 1], even after an interpolation that overshoots."""
    if largest > 2:
        message = f"Standardize: expected images in [0, 1]. Received: max={largest:g}. Divide by 255."
        warnings.warn(message, stacklevel=3)


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    valid = all(checks.is_number(number) for number in values)
    checks.require(valid, "Standardize", f"`{name}` to be a number, or one per channel", **{name: value})
    return tuple(float(number) for number in values)


def _is_concrete(tensor: Any) -> bool:
    """Returns whether a tensor has values: those of TensorFlow and PyTorch offer `numpy`, JAX' know their device."""
    try:
        return hasattr(tensor, "numpy") or hasattr(tensor, "is_fully_addressable")
    except TypeError:  # raised by a JAX tracer for any attribute that depends on values
        return False
