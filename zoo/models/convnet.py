"""A plain convolutional network, 3x3 convolution, batch norm, ReLU, for small images and two cores."""

from keras import layers

from zoo.models import architecture, checks, encoder, initial, norm


@architecture.recorded
def convnet(
    image_shape=(32, 32, 3),
    widths=(32, 64, 128, 256),
    depth=1,
    mean=0.0,
    std=1.0,
    pooling="avg",
    space="rgb",
    channels=None,
    name="convnet",
):
    """A stack of stages; each but the first halves the map.

    Args:
        image_shape: (H, W, C); H and W may be None.
        widths: channels of each stage.
        depth: convolutions per stage; the first of them has the stride.
        mean: number, or one per channel, subtracted from images in [0, 1].
        std: number, or one per channel.
        pooling: 'avg', 'max' or None, which returns the last map.
        space: colour space that RGB images are converted to inside, such as 'lab', normalised as published.
        channels: which of its channels the network sees, such as (0,) for luma and (1, 2) for chroma; None for all.
        name: of the model.

    Returns:
        Functional model, images in [0, 1] `[B, H, W, C]` -> features `[B, F]`, F the last width. Its attribute
        `pyramid_outputs` holds the output of each stage, 'P0', 'P1', ...: 'Pn' has a stride of 2^n pixels.
    """
    checks.sizes("convnet", "widths", widths)
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise ValueError(f"convnet: expected a positive integer. Received: depth={depth!r}.")
    images, x = encoder.begin("convnet", image_shape, mean, std, space, channels, smallest=2 ** (len(widths) - 1))
    pyramid = {}
    for stage, width in enumerate(widths):
        for index in range(depth):
            stride = 2 if stage and not index else 1
            x = _convolution(x, width, stride, f"conv{stage + 1}_{index + 1}")  # [B, H/2^stage, W/2^stage, width]
        pyramid[f"P{stage}"] = x
    return encoder.finish("convnet", images, x, pooling, pyramid, name)


def _convolution(x, filters, stride, name):
    x = layers.Conv2D(
        filters, 3, stride, padding="same", use_bias=False, kernel_initializer=initial.fan_in(), name=f"{name}_conv"
    )(x)
    return layers.ReLU(name=f"{name}_relu")(norm.BatchNorm(name=f"{name}_bn")(x))
