"""The first and the last layers, which all encoders share, and the sizes of images that an encoder takes."""

from collections.abc import Sequence
from typing import Any

import keras

from zoo import checks
from zoo.models import convert, standardize

_POOLINGS = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}


def begin(
    who: str,
    image_shape: Sequence[int | None],
    mean: float | Sequence[float],
    std: float | Sequence[float],
    space: str = "rgb",
    channels: Sequence[int] | None = None,
    smallest_size: int = 1,
    any_size: bool = True,
) -> tuple[Any, Any]:
    """Makes the input of an encoder and the first layers.

    Args:
        who: name of the factory, for errors.
        image_shape: (H, W, C).
        mean: number, or one for every channel that is kept.
        std: number, or one for every channel that is kept.
        space: color space that images are converted to first, see `convert.Convert`.
        channels: numbers of the channels that are kept, or None for all.
        smallest_size: the smallest H and W that the encoder takes.
        any_size: whether H and W may be None, for images of any height and width.

    Returns:
        Two symbolic tensors `[B, H, W, C]`: images in [0, 1] and standardized images.

    Raises:
        ValueError: the encoder does not take images of this shape.
    """
    shape = tuple(image_shape) if isinstance(image_shape, tuple | list) else ()
    free = (None,) if any_size else ()
    valid = len(shape) == 3 and all(size in free or checks.is_integer(size) for size in shape[:2])
    sizes = ", None for any height or width" if any_size else " of known height and width"
    expected = f"`image_shape` to be (height, width, channels){sizes}"
    checks.require(valid, who, expected, image_shape=image_shape)
    expected = "`image_shape` to have a known number of channels"
    checks.require(checks.is_integer(shape[2]), who, expected, image_shape=image_shape)
    large = all(size is None or size >= smallest_size for size in shape[:2])
    expected = f"images of at least {smallest_size} x {smallest_size} pixels"
    checks.require(large, who, expected, image_shape=image_shape)
    images = x = keras.Input(shape, name="images")  # [B, H, W, C]
    if space != "rgb" or channels is not None:
        x = convert.Convert(space, channels, name="convert")(x)
    return images, standardize.Standardize(mean, std, name="standardize")(x)


def finish(
    who: str,
    images: Any,
    x: Any,
    pooling: str | None,
    pyramid: dict[str, Any],
    name: str,
    smallest_size: int = 1,
) -> keras.Model:
    """Makes the last layer of an encoder, and the model.

    Args:
        who: name of the factory, for errors.
        images: the symbolic input `[B, H, W, C]`.
        x: the last map `[B, h, w, F]`.
        pooling: 'avg', 'max' or None.
        pyramid: dict from 'Pn' to the symbolic map with a stride of 2^n pixels.
        name: name of the model.
        smallest_size: the smallest H and W that the encoder takes.

    Returns:
        Functional model from images to features `[B, F]`, or to the last map if `pooling` is None, with the attributes
        `pyramid_outputs` and `smallest_size`.
    """
    checks.one_of(who, "pooling", pooling, (*_POOLINGS, None))
    if pooling is not None:
        x = _POOLINGS[pooling](name=f"{pooling}_pool")(x)  # [B, F]
    model = keras.Model(images, x, name=name)
    describe(model, pyramid, smallest_size)
    return model


def describe(model: keras.Model, pyramid: dict[str, Any], smallest_size: int) -> None:
    """Gives a model the attributes of an encoder.

    Args:
        model: the model, which gets `pyramid_outputs` and `smallest_size`.
        pyramid: dict from 'Pn' to the symbolic map with a stride of 2^n pixels.
        smallest_size: the smallest H and W that the encoder takes.
    """
    # Past Keras' own attribute setter: symbolic tensors are nothing to track or to save.
    vars(model).update(pyramid_outputs=dict(pyramid), smallest_size=smallest_size)


def check_size(who: str, encoder: keras.Model, shape: Sequence[int]) -> None:
    """Raises ValueError unless an encoder takes images of a shape.

    Args:
        who: name of the caller, for the error.
        encoder: network `[B, H, W, C] -> [B, F]`; without an attribute `smallest_size`, it takes images of one pixel.
        shape: (H, W, C) of the images.
    """
    known = tuple(encoder.input_shape[1:])
    valid = len(shape) == len(known) and all(size in (None, given) for size, given in zip(known, shape, strict=True))
    expected = f"images of shape {known} for the encoder {encoder.name!r}"
    checks.require(valid, who, expected, shape=tuple(shape))
    smallest = getattr(encoder, "smallest_size", 1)
    expected = f"images of at least {smallest} x {smallest} pixels for the encoder {encoder.name!r}"
    checks.require(min(shape[:2]) >= smallest, who, expected, shape=tuple(shape))


def takes(encoder: keras.Model, shape: Sequence[int]) -> bool:
    """Returns whether an encoder takes images of a shape (H, W, C)."""
    try:
        check_size("encoder", encoder, shape)
    except ValueError:
        return False
    return True
