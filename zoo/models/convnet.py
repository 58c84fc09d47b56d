"""A plain convolutional network of 3x3 convolutions, batch norm and ReLU, small enough to train on a CPU."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from zoo import checks
from zoo.models import architecture, encoder, initial, norm

_DEEPEST = 64  # convolutions per stage; a card that asks for millions would never be built


@architecture.recorded
def convnet(
    image_shape: Sequence[int | None] = (32, 32, 3),
    widths: Sequence[int] = (32, 64, 128, 256),
    depth: int = 1,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    pooling: str | None = "avg",
    space: str = "rgb",
    channels: Sequence[int] | None = None,
    name: str = "convnet",
) -> keras.Model:
    """Returns a convolutional network of several stages, each on a map half as large as that of the stage before.

    Args:
        image_shape: (H, W, C); H and W may be None, for images of any height and width.
        widths: channels of each stage.
        depth: number of convolutions per stage; the first one of a stage has the stride.
        mean: number, or one per channel, that is subtracted from images in [0, 1].
        std: number, or one per channel, by which the difference is divided.
        pooling: 'avg', 'max' or None, which returns the last map.
        space: color space that the network converts RGB images to, such as 'lab', see `zoo.colors`.
        channels: numbers of the channels of this space that the network sees, such as (0,) for luma or (1, 2) for
            chroma; None for all.
        name: name of the model.

    Returns:
        Functional model, images in [0, 1] `[B, H, W, C]` -> features `[B, F]`, where F is the last width. Its attribute
        `pyramid_outputs` holds the output of each stage, 'P0', 'P1' and so on, 'Pn' with a stride of 2^n pixels;
        `smallest_size` is the smallest H and W.
    """
    checks.sizes("convnet", "widths", widths)
    checks.integers("convnet", depth=depth)
    checks.require(depth <= _DEEPEST, "convnet", f"`depth` <= {_DEEPEST}", depth=depth)
    smallest = 2 ** (len(widths) - 1)
    images, x = encoder.begin("convnet", image_shape, mean, std, space, channels, smallest)
    pyramid = {}
    for stage, width in enumerate(widths):
        for index in range(depth):
            stride = 2 if stage and not index else 1
            x = _convolution(x, width, stride, f"conv{stage + 1}_{index + 1}")  # [B, H/2^stage, W/2^stage, width]
        pyramid[f"P{stage}"] = x
    return encoder.finish("convnet", images, x, pooling, pyramid, name, smallest)


def _convolution(x: Any, filters: int, stride: int, name: str) -> Any:
    x = layers.Conv2D(
        filters, 3, stride, padding="same", use_bias=False, kernel_initializer=initial.fan_in(), name=f"{name}_conv"
    )(x)
    return layers.ReLU(name=f"{name}_relu")(norm.BatchNorm(name=f"{name}_bn")(x))
