"""ResNet (He et al., 2015, https://arxiv.org/abs/1512.03385), version 1.5: the stride lies in the 3x3 convolution.

Published contrastive weights come in three families of padding. They have equal shapes, so a wrong choice loads
without complaint and costs points of accuracy:

| place             | 'torch' (MoCo, SwAV, PIRL, ...) | 'simclr' | 'byol' |
|-------------------|---------------------------------|----------|--------|
| stem 7x7/2        | 3 on every side                 | 3        | SAME   |
| max-pool 3x3/2    | 1                               | SAME     | SAME   |
| convolution 3x3/2 | 1                               | 1        | SAME   |

SAME pads less before than after at even sizes: (2, 3) for the stem and (0, 1) for 3x3. Stride 1 pads alike everywhere.
"""

from keras import layers

from zoo.models import architecture, checks, encoder, initial, norm

_STEMS = ("imagenet", "small")
_PADDINGS = ("torch", "simclr", "byol")


def _variant(name, depths, bottleneck):
    """The factory of one depth."""

    def factory(
        image_shape=(224, 224, 3),
        width=1.0,
        stem="imagenet",
        padding="torch",
        mean=0.0,
        std=1.0,
        pooling="avg",
        zero_init_residual=True,
        project_first=None,
        space="rgb",
        channels=None,
        name=name,
    ):
        checks.choice(factory.__name__, "stem", stem, _STEMS)
        checks.choice(factory.__name__, "padding", padding, _PADDINGS)
        if isinstance(width, bool) or not isinstance(width, int | float) or width <= 0:
            raise ValueError(f"{factory.__name__}: expected a positive width. Received: width={width!r}.")
        stride = 4 if stem == "imagenet" else 1
        images, x = encoder.begin(factory.__name__, image_shape, mean, std, space, channels, smallest=8 * stride)
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
        return encoder.finish(factory.__name__, images, x, pooling, pyramid, name)

    kind, features = ("bottleneck", 2048) if bottleneck else ("basic", 512)
    factory.__name__ = factory.__qualname__ = name
    factory.__doc__ = f"""{name.replace("resnet", "ResNet-")}: {kind} blocks, {", ".join(map(str, depths))} per group.

    Args:
        image_shape: (H, W, C); H and W may be None.
        width: multiplies the channels of every layer.
        stem: 'imagenet', 7x7/2 and max-pool, for images from 32 pixels; 'small', 3x3/1 without a pool, from 8 pixels.
        padding: 'torch', 'simclr' or 'byol', the family of padding.
        mean: number, or one per channel, subtracted from images in [0, 1]; SimCLR subtracts none.
        std: number, or one per channel.
        pooling: 'avg', 'max' or None, which returns the last map.
        zero_init_residual: whether the last gamma of a block begins at 0, as in SimCLR and BYOL.
        project_first: whether the shortcut of the first group is a convolution too. Bottleneck blocks need it; basic
            blocks have it in the 'simclr' and 'byol' families and not in 'torch', the default.
        space: colour space that RGB images are converted to inside, such as 'lab', normalised as published.
        channels: which of its channels the network sees, such as (0,) for luma and (1, 2) for chroma; None for all.
        name: of the model.

    Returns:
        Functional model, images in [0, 1] `[B, H, W, C]` -> features `[B, F]`, F = {features} * width. Its attribute
        `pyramid_outputs` holds the outputs of the four groups, 'P2' to 'P5', or 'P0' to 'P3' after the small stem:
        'Pn' has a stride of 2^n pixels.
    """
    return architecture.recorded(factory)


def _channels(count, width):
    return max(1, round(count * width))


def _stem(x, filters, stem, padding):
    if stem == "small":
        return _norm(_convolution(x, filters, 3, 1, padding, "conv1_conv"), "conv1")
    x = _norm(_convolution(x, filters, 7, 2, padding, "conv1_conv"), "conv1")  # [B, H/2, W/2, 64]
    if padding != "torch":
        return layers.MaxPooling2D(3, 2, padding="same", name="pool1_pool")(x)
    # Zeros serve as well as minus infinity, because the maximum is over what a ReLU returned.
    return layers.MaxPooling2D(3, 2, name="pool1_pool")(layers.ZeroPadding2D(1, name="pool1_pad")(x))


def _basic_block(x, filters, stride, project, padding, gamma, name):
    shortcut = _shortcut(x, filters, stride, padding, name) if project else x
    x = _norm(_convolution(x, filters, 3, stride, padding, f"{name}_1_conv"), f"{name}_1")
    x = _convolution(x, filters, 3, 1, padding, f"{name}_2_conv")
    return _residual(shortcut, norm.BatchNorm(gamma_initializer=gamma, name=f"{name}_2_bn")(x), name)


def _bottleneck_block(x, filters, stride, project, padding, gamma, name):
    shortcut = _shortcut(x, 4 * filters, stride, padding, name) if project else x
    x = _norm(_convolution(x, filters, 1, 1, padding, f"{name}_1_conv"), f"{name}_1")
    x = _norm(_convolution(x, filters, 3, stride, padding, f"{name}_2_conv"), f"{name}_2")
    x = _convolution(x, 4 * filters, 1, 1, padding, f"{name}_3_conv")
    return _residual(shortcut, norm.BatchNorm(gamma_initializer=gamma, name=f"{name}_3_bn")(x), name)


def _shortcut(x, filters, stride, padding, name):
    return norm.BatchNorm(name=f"{name}_0_bn")(_convolution(x, filters, 1, stride, padding, f"{name}_0_conv"))


def _residual(shortcut, x, name):
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _norm(x, name):
    return layers.ReLU(name=f"{name}_relu")(norm.BatchNorm(name=f"{name}_bn")(x))


def _convolution(x, filters, size, stride, padding, name):
    # At stride 1 SAME is what every family does, and the fast kernels know it. Padding given to the convolution as
    # numbers would not do: on CPU the gradients then leave the fast kernels (2 to 80 times slower).
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
