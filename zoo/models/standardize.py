"""Mean and standard deviation as a layer, so that every model of the zoo takes images in [0, 1]."""

import math
import warnings

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="zoo")
class Standardize(keras.layers.Layer):
    """Subtracts a mean and divides by a standard deviation, `[B, H, W, C] -> [B, H, W, C]`.

    An eager call on images that plainly are not in [0, 1] warns, because features of such images look plausible and
    are wrong. Nothing is checked while a graph is traced.

    Args:
        mean: number, or one per channel, in units of images in [0, 1].
        std: positive number, or one per channel.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, mean=0.0, std=1.0, **kwargs):
        # Pixels stay float32 under a mixed policy until they are standardised: bfloat16 keeps 8 bits of them.
        super().__init__(autocast=False, **kwargs)
        self.mean = _numbers("mean", mean)
        self.std = _numbers("std", std)
        if any(value <= 0 for value in self.std):
            raise ValueError(f"Standardize: expected a positive standard deviation. Received: std={std!r}.")

    def build(self, input_shape):
        """Checks that there are as many numbers as channels."""
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, input_shape[-1]):
                expected = f"Standardize: expected 1 number or one for each of {input_shape[-1]} channels."
                raise ValueError(f"{expected} Received: {name}={values!r}.")

    def call(self, images):
        """Images in [0, 1] `[B, H, W, C]` -> standardised images in the compute dtype `[B, H, W, C]`."""
        if _is_concrete(images):
            warn_of_range(float(ops.max(images)))
        x = ops.cast(images, keras.backend.result_type(self.variable_dtype, "float32"))  # [B, H, W, C]
        if self.mean != (0.0,):
            x = x - ops.convert_to_tensor(self.mean, dtype=x.dtype)
        if self.std != (1.0,):
            x = x / ops.convert_to_tensor(self.std, dtype=x.dtype)
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """The shape of the images."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "mean": list(self.mean), "std": list(self.std)}


def warn_of_range(largest):
    """Warns where the largest value of a batch cannot be that of images in [0, 1], interpolation included."""
    if largest > 2:
        message = f"Standardize: expected images in [0, 1]. Received: max={largest:g}. Divide by 255."
        warnings.warn(message, stacklevel=3)


def _numbers(name, value):
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    for number in values:
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"Standardize: expected a number or one per channel. Received: {name}={value!r}.")
    return tuple(float(number) for number in values)


def _is_concrete(tensor):
    """Whether the tensor holds values: TensorFlow's and PyTorch's offer `numpy`, JAX' knows where it lies."""
    try:
        return hasattr(tensor, "numpy") or hasattr(tensor, "is_fully_addressable")
    except TypeError:  # what a JAX tracer raises for whatever depends on values
        return False
