"""ResNet (He et al., 2015, https://arxiv.org/abs/1512.03385), version 1.5: the 3x3 convolution has the stride.

Published contrastive weights belong to three families, which pad differently. Their weights have equal shapes, so a
wrong choice loads without an error and costs points of accuracy:

| place             | 'torch' (MoCo, SwAV, PIRL, ...) | 'simclr' | 'byol' |
|-------------------|---------------------------------|----------|--------|
| stem 7x7/2        | 3 on every side                 | 3        | SAME   |
| max-pool 3x3/2    | 1                               | SAME     | SAME   |
| convolution 3x3/2 | 1                               | 1        | SAME   |

At even sizes SAME pads less before than after: (2, 3) in the stem and (0, 1) for 3x3. At stride 1 all families pad
alike.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from zoo import checks
from zoo.models import architecture, encoder, initial, norm

_STEMS = ("imagenet", "small")
_PADDINGS = ("torch", "simclr", "byol")


def _variant(name: str, depths: Sequence[int], bottleneck: bool) -> Callable[..., keras.Model]:
    """Returns the factory of a ResNet with a certain number of blocks in each group."""

    def factory(
        image_shape: Sequence[int | None] = (224, 224, 3),
        width: float = 1.0,
        stem: str = "imagenet",
        padding: str = "torch",
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        pooling: str | None = "avg",
        zero_init_residual: bool = True,
        project_first: bool | None = None,
        space: str = "rgb",
        channels: Sequence[int] | None = None,
        name: str = name,
    ) -> keras.Model:
        who = factory.__name__
        checks.one_of(who, "stem", stem, _STEMS)
        checks.one_of(who, "padding", padding, _PADDINGS)
        checks.positive(who, width=width)
        smallest = 32 if stem == "imagenet" else 8
        images, x = encoder.begin(who, image_shape, mean, std, space, channels, smallest)
        x = _stem(x, _channels(64, width), stem, padding)  # [B, H/4, W/4, 64] or [B, H, W, 64]
        if project_first is None:
            project_first = bottleneck or padding != "torch"
        block = _bottleneck_block if bottleneck else _basic_block
        pyramid, level = {}, 2 if stem == "imagenet" else 0
        for group, depth in enumerate(depths):
            for index in range(depth):
                x = block(
                    x,
                    _channels(64 * 2**group, width),
                    stride=2 if group and not index else 1,
                    project=not index and (group > 0 or project_first),
                    padding=padding,
                    gamma="zeros" if zero_init_residual else "ones",
                    name=f"conv{group + 2}_block{index + 1}",
                )
            pyramid[f"P{level + group}"] = x
        return encoder.finish(who, images, x, pooling, pyramid, name, smallest)

    kind, features = ("bottleneck", 2048) if bottleneck else ("basic", 512)
    factory.__name__ = factory.__qualname__ = name
    factory.__doc__ = f"""Returns a {name.replace("resnet", "ResNet-")}: {kind} blocks, {_listed(depths)} in its groups.

    Args:
        image_shape: (H, W, C); H and W may be None, for images of any height and width.
        width: factor of the channels of every layer.
        stem: 'imagenet', 7x7/2 and max-pool, for images of at least 32 pixels; 'small', 3x3/1 without a pool, for
            images of at least 8 pixels.
        padding: 'torch', 'simclr' or 'byol', the family of the weights.
        mean: number, or one per channel, that is subtracted from images in [0, 1]; SimCLR subtracts none.
        std: number, or one per channel, by which the difference is divided.
        pooling: 'avg', 'max' or None, which returns the last map.
        zero_init_residual: whether the last gamma of every block begins at 0, as in SimCLR and BYOL.
        project_first: whether the shortcut of the first group is a convolution. Bottleneck blocks need one; basic
            blocks have one in the families 'simclr' and 'byol', but not in 'torch'. None for the family's choice.
        space: color space that the network converts RGB images to, such as 'lab', see `zoo.colors`.
        channels: numbers of the channels of this space that the network sees, such as (0,) for luma or (1, 2) for
            chroma; None for all.
        name: name of the model.

    Returns:
        Functional model, images in [0, 1] `[B, H, W, C]` -> features `[B, F]`, F = {features} * width. Its attribute
        `pyramid_outputs` holds the outputs of the four groups, 'P2' to 'P5', or 'P0' to 'P3' with the small stem: 'Pn'
        has a stride of 2^n pixels; `smallest_size` is the smallest H and W.
    """
    return architecture.recorded(factory)


def _listed(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _channels(count: int, width: float) -> int:
    return max(1, round(count * width))


def _stem(x: Any, filters: int, stem: str, padding: str) -> Any:
    if stem == "small":
        return _norm(_convolution(x, filters, 3, 1, padding, "conv1_conv"), "conv1")
    x = _norm(_convolution(x, filters, 7, 2, padding, "conv1_conv"), "conv1")  # [B, H/2, W/2, 64]
    if padding != "torch":
        return layers.MaxPooling2D(3, 2, padding="same", name="pool1_pool")(x)
    # Zeros do as well as minus infinity, because a ReLU returns nothing below zero.
    return layers.MaxPooling2D(3, 2, name="pool1_pool")(layers.ZeroPadding2D(1, name="pool1_pad")(x))


def _basic_block(x: Any, filters: int, stride: int, project: bool, padding: str, gamma: str, name: str) -> Any:
    shortcut = _shortcut(x, filters, stride, padding, name) if project else x
    x = _norm(_convolution(x, filters, 3, stride, padding, f"{name}_1_conv"), f"{name}_1")
    x = _convolution(x, filters, 3, 1, padding, f"{name}_2_conv")
    return _residual(shortcut, norm.BatchNorm(gamma_initializer=gamma, name=f"{name}_2_bn")(x), name)


def _bottleneck_block(x: Any, filters: int, stride: int, project: bool, padding: str, gamma: str, name: str) -> Any:
    shortcut = _shortcut(x, 4 * filters, stride, padding, name) if project else x
    x = _norm(_convolution(x, filters, 1, 1, padding, f"{name}_1_conv"), f"{name}_1")
    x = _norm(_convolution(x, filters, 3, stride, padding, f"{name}_2_conv"), f"{name}_2")
    x = _convolution(x, 4 * filters, 1, 1, padding, f"{name}_3_conv")
    return _residual(shortcut, norm.BatchNorm(gamma_initializer=gamma, name=f"{name}_3_bn")(x), name)


def _shortcut(x: Any, filters: int, stride: int, padding: str, name: str) -> Any:
    return norm.BatchNorm(name=f"{name}_0_bn")(_convolution(x, filters, 1, stride, padding, f"{name}_0_conv"))


def _residual(shortcut: Any, x: Any, name: str) -> Any:
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _norm(x: Any, name: str) -> Any:
    return layers.ReLU(name=f"{name}_relu")(norm.BatchNorm(name=f"{name}_bn")(x))


def _convolution(x: Any, filters: int, size: int, stride: int, padding: str, name: str) -> Any:
    # At stride 1 every family pads like SAME, which the fast kernels support. Numbers of pixels they do not: on a CPU
    # the gradients would be 2 to 80 times slower.
    same = stride == 1 or size == 1 or padding == "byol"
    if not same:
        x = layers.ZeroPadding2D(size // 2, name=f"{name.removesuffix('_conv')}_pad")(x)
    return layers.Conv2D(
        filters,
        size,
        stride,
        padding="same" if same else "valid",
        use_bias=False,
        kernel_initializer=initial.fan_in(),
        name=name,
    )(x)


resnet18 = _variant("resnet18", (2, 2, 2, 2), bottleneck=False)
resnet34 = _variant("resnet34", (3, 4, 6, 3), bottleneck=False)
resnet50 = _variant("resnet50", (3, 4, 6, 3), bottleneck=True)
resnet101 = _variant("resnet101", (3, 4, 23, 3), bottleneck=True)
resnet152 = _variant("resnet152", (3, 8, 36, 3), bottleneck=True)
