"""What every encoder begins and ends with: images in [0, 1], pooled features, a pyramid of maps."""

import keras

from zoo.models import checks, convert, standardize

_POOLINGS = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}


def begin(who, image_shape, mean, std, space="rgb", channels=None, smallest=1, static=False):
    """The input of an encoder and its first layer.

    Args:
        who: the factory's name, for errors.
        image_shape: (H, W, C); H and W may be None.
        mean: number, or one per channel that is kept.
        std: number, or one per channel that is kept.
        space: colour space that images are converted to first, see `convert.Convert`.
        channels: numbers of the channels that are kept, or None for all.
        smallest: the least H and W that the encoder takes.
        static: whether H and W must be known.

    Returns:
        Pair of symbolic tensors, images in [0, 1] and standardised images, both `[B, H, W, C]`.
    """
    shape = tuple(image_shape) if isinstance(image_shape, tuple | list) else ()
    sizes = shape[:2]
    if len(shape) != 3 or not all(checks.is_size(size) or (size is None and not static) for size in sizes):
        kind = "(height, width, channels)" if static else "(height, width, channels), sizes of None for any"
        raise ValueError(f"{who}: expected {kind}. Received: image_shape={image_shape!r}.")
    if not checks.is_size(shape[2]):
        raise ValueError(
            f"{who}: expected images of a known number of channels. Received: image_shape={image_shape!r}."
        )
    if any(size is not None and size < smallest for size in sizes):
        expected = f"{who}: expected images of at least {smallest} x {smallest} pixels"
        raise ValueError(f"{expected}. Received: image_shape={image_shape!r}.")
    images = x = keras.Input(shape, name="images")  # [B, H, W, C]
    if space != "rgb" or channels is not None:
        x = convert.Convert(space, channels, name="convert")(x)
    return images, standardize.Standardize(mean, std, name="standardize")(x)


def finish(who, images, x, pooling, pyramid, name):
    """The encoder itself.

    Args:
        who: the factory's name, for errors.
        images: the symbolic input `[B, H, W, C]`.
        x: the last map `[B, h, w, F]`.
        pooling: 'avg', 'max' or None.
        pyramid: dict from 'Pn' to the map of stride 2^n.
        name: the model's name.

    Returns:
        Functional model to features `[B, F]`, or to the map where pooling is None, with the attribute
        `pyramid_outputs`.
    """
    checks.choice(who, "pooling", pooling, (*_POOLINGS, None))
    if pooling is not None:
        x = _POOLINGS[pooling](name=f"{pooling}_pool")(x)  # [B, F]
    model = keras.Model(images, x, name=name)
    # Past Keras' own attribute setter: symbolic tensors are nothing to track or to save.
    vars(model)["pyramid_outputs"] = dict(pyramid)
    return model
