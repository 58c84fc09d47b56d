"""Views of several maps that share their geometry, such as an image, its depth and its surface normals.

The methods of most views handle arrays only. These functions call them for `{key: [B, H, W, C]}` as well: a draw
applies to all maps, geometric views transform every map, and the others change `"image"` only.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import backend, ops

from zoo import checks, seeds

IMAGE = "image"
Shape = tuple[int, ...]
Shapes = Shape | dict[str, Shape]


def checked(who: str, images: Any, seed: seeds.Seed) -> Any:
    """Returns an array or a dictionary of maps as float32 `[B, H, W, C]`, if a view takes them and the seed.

    Args:
        who: name of the view, for errors.
        images: floats `[B, H, W, C]`, or a dictionary of such maps with the same height and width.
        seed: `[B]` keys.

    Raises:
        ValueError: a view does not take them.
    """
    if isinstance(images, dict):
        checks.require(len(images) > 0, who, "at least one map", images=images)
        images = {key: _checked_array(f"{who}: {key}", array) for key, array in images.items()}
        sizes = {key: tuple(array.shape[1:3]) for key, array in images.items()}
        checks.require(len(set(sizes.values())) == 1, who, "maps of one height and width", sizes=sizes)
    else:
        images = _checked_array(who, images)
    rank = len(np.shape(seed.key[0]))
    checks.require(rank == 1, who, "one seed per image: `seed.fold(ids)` with ids of shape [B]", rank=rank)
    return images


def _checked_array(who, images):
    images = ops.convert_to_tensor(images)
    dtype = backend.standardize_dtype(images.dtype)
    checks.require("float" in dtype, who, "floating images in [0, 1]", dtype=dtype)
    shape = tuple(images.shape)
    is_valid = len(shape) == 4 and None not in shape[1:] and shape[-1] >= 1
    checks.require(is_valid, who, "images [B, H, W, C] of known size with channels", shape=shape)
    return ops.cast(images, "float32")


def shapes(images: Any) -> Shapes:
    """Returns the shape `(H, W, C)` of an array's images, or the shapes of all maps."""
    if isinstance(images, dict):
        return {key: tuple(array.shape[1:]) for key, array in images.items()}
    return tuple(images.shape[1:])


def image(who: str, images: dict) -> Any:
    """Returns the entry `"image"` of a dictionary of maps, or of their shapes."""
    checks.require(IMAGE in images, who, f"maps with the key {IMAGE!r}", keys=tuple(images))
    return images[IMAGE]


def draw(view: Any, seed: seeds.Seed, shape: Shapes) -> dict[str, Any]:
    """Returns the draw of a view for images of one shape, or for maps of several shapes."""
    if isinstance(shape, dict) and not view.takes_maps:
        shape = next(iter(shape.values())) if view.geometric else image(type(view).__name__, shape)
    return view.draw(seed, shape)


def apply(view: Any, images: Any, drawn: dict[str, Any]) -> Any:
    """Applies a view to an array of images or to a dictionary of maps."""
    return _mapped(view, images, lambda array: view.apply(array, drawn))


def output_shape(view: Any, shape: Shapes) -> Any:
    """Returns the output shape of a view for an image of one shape, or for maps of several shapes."""
    return _mapped(view, shape, view.output_shape)


def _mapped(view: Any, images: Any, function: Callable) -> Any:
    """Applies a function of arrays, or of shapes, to those maps that a view changes."""
    if view.takes_maps or not isinstance(images, dict):
        return function(images)
    changed = images if view.geometric else {IMAGE: image(type(view).__name__, images)}
    results = {key: function(array) for key, array in changed.items()}
    if not view.several:
        return {**images, **results}
    return tuple(
        {**images, **dict(zip(results, values, strict=True))} for values in zip(*results.values(), strict=True)
    )
