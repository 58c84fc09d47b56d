"""A multilayer perceptron on pixels, for the smallest images."""

from collections.abc import Sequence

import keras
from keras import layers

from zoo import checks
from zoo.models import architecture, encoder, initial, norm


@architecture.recorded
def mlp(
    image_shape: Sequence[int] = (8, 8, 1),
    widths: Sequence[int] = (256, 256),
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    name: str = "mlp",
) -> keras.Model:
    """Returns dense layers on the pixels of an image, each with batch norm and ReLU.

    Args:
        image_shape: (H, W, C). Every pixel has weights of its own, so H and W must be known.
        widths: units of each layer.
        mean: number, or one per channel, that is subtracted from images in [0, 1].
        std: number, or one per channel, by which the difference is divided.
        name: name of the model.

    Returns:
        Functional model, images in [0, 1] `[B, H, W, C]` -> features `[B, F]`, where F is the last width. Its attribute
        `pyramid_outputs` is empty, because there are no maps.
    """
    checks.sizes("mlp", "widths", widths)
    images, x = encoder.begin("mlp", image_shape, mean, std, any_size=False)
    x = layers.Flatten(name="pixels")(x)  # [B, H * W * C]
    for index, width in enumerate(widths, start=1):
        kernel = initial.get("he_normal")
        x = layers.Dense(width, use_bias=False, kernel_initializer=kernel, name=f"dense{index}")(x)  # [B, width]
        x = layers.ReLU(name=f"dense{index}_relu")(norm.BatchNorm(name=f"dense{index}_bn")(x))
    return encoder.finish("mlp", images, x, None, {}, name)
