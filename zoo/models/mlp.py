"""A multilayer perceptron on pixels, for the smallest images."""

from keras import layers

from zoo.models import architecture, checks, encoder, initial, norm


@architecture.recorded
def mlp(image_shape=(8, 8, 1), widths=(256, 256), mean=0.0, std=1.0, name="mlp"):
    """Pixels in one row, then dense layers with batch norm and ReLU.

    Args:
        image_shape: (H, W, C), C is 1 or 3.
        widths: units of each layer.
        mean: number, or one per channel, subtracted from images in [0, 1].
        std: number, or one per channel.
        name: of the model.

    Returns:
        Functional model, images in [0, 1] `[B, H, W, C]` -> features `[B, F]`, F the last width. There are no maps,
        so its `pyramid_outputs` are empty.
    """
    checks.sizes("mlp", "widths", widths)
    images, x = encoder.begin("mlp", image_shape, mean, std, static=True)
    x = layers.Flatten(name="pixels")(x)  # [B, H * W * C]
    for index, width in enumerate(widths, start=1):
        kernel = initial.get("he_normal")
        x = layers.Dense(width, use_bias=False, kernel_initializer=kernel, name=f"dense{index}")(x)  # [B, width]
        x = layers.ReLU(name=f"dense{index}_relu")(norm.BatchNorm(name=f"dense{index}_bn")(x))
    return encoder.finish("mlp", images, x, None, {}, name)
