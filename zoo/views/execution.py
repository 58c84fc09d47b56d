"""How views are executed: all images of a batch together, or one image at a time; equal chains as one batch.

What XLA compiles for a CPU is fastest one image at a time: the image stays in the processor's cache from operation to
operation, and an operation that was not drawn is not computed. `zoo.context` says which way holds.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import backend, ops, tree

from zoo import checks, context, engine, seeds


def image_by_image() -> bool:
    """Returns whether views are made one image at a time."""
    return context.current().image_by_image


def is_single(images: Any) -> bool:
    """Returns whether these are a single image `[1, H, W, C]`, of which only what was drawn needs to be computed."""
    return image_by_image() and tree.flatten(images)[0].shape[0] == 1


def barrier(tensors: Any) -> Any:
    """Returns the tensors; one image at a time, they are computed before anything that uses them.

    XLA would otherwise fuse them into their uses and compute them anew for each.
    """
    return engine.current().barrier(tensors) if image_by_image() else tensors


def select(mask: Any, chosen: Any, other: Any) -> Any:
    """Returns `chosen` where `mask` [B] is true, else `other`, per example.

    Args:
        mask: bool `[B]`.
        chosen: finite float32 `[B, ...]`, or a nest of such tensors.
        other: tensors of the same shapes.
    """

    def one(first, second):
        weight = ops.reshape(ops.cast(mask, "float32"), (-1,) + (1,) * (len(first.shape) - 1))
        # As exact as a selection, and several times faster on a CPU, where a mask that broadcasts is slow.
        return weight * first + (1 - weight) * second

    return tree.map_structure(one, chosen, other)


def where(mask: Any, change: Callable, images: Any) -> Any:
    """Returns `change(images)` where `mask` [B] is true, else the images, per example."""
    if is_single(images):
        return ops.cond(mask[0], lambda: change(images), lambda: images)
    return select(mask, change(images), images)


def fold_each(seed: seeds.Seed, count: int) -> list[seeds.Seed]:
    """Returns the seeds `seed.fold(0)` to `seed.fold(count - 1)`, at the price of one fold."""
    spread = seeds.Seed(seed.value, tuple(ops.convert_to_tensor(word)[:, None] for word in seed.key))  # keys [B, 1]
    first, second = spread.fold(np.arange(count, dtype="int32")).key  # [B, count]
    return [seeds.Seed(seed.value, (first[:, i], second[:, i])) for i in range(count)]


def checked(who: str, images: Any, seed: seeds.Seed) -> Any:
    """Returns images, or a dictionary of maps, as float32 `[B, H, W, C]` if a view can take them and the seed.

    Raises:
        ValueError: they are not floats of one known size with channels, or there is not one seed per image.
    """
    if isinstance(images, dict):
        found = {name: checked(f"{who}: {name}", values, seed) for name, values in images.items()}
        sizes = {tuple(values.shape[1:3]) for values in found.values()}
        checks.require(len(sizes) == 1, who, "maps of one height and width", sizes=sorted(sizes))
        return found
    images = ops.convert_to_tensor(images)
    dtype = backend.standardize_dtype(images.dtype)
    checks.require("float" in dtype, who, "floating images in [0, 1]", dtype=dtype)
    shape = tuple(images.shape)
    valid = len(shape) == 4 and None not in shape[1:] and shape[-1] >= 1
    checks.require(valid, who, "images [B, H, W, C] of known size with channels", shape=shape)
    rank = len(tuple(seed.key[0].shape)) if hasattr(seed.key[0], "shape") else 0
    checks.require(rank == 1, who, "one seed per image: `seed.fold(ids)` with ids of shape [B]", rank=rank)
    return ops.cast(images, "float32")


def run(apply: Callable, images: Any, drawn: Any) -> Any:
    """Returns `apply(images, drawn)`, after the draws are computed, in the way that holds here.

    Args:
        apply: function of images `[B, H, W, C]`, or a dictionary of maps, and what was drawn.
        images: those.
        drawn: nest of tensors `[B, ...]`.
    """
    drawn = engine.current().barrier(drawn)
    if not image_by_image():
        return apply(images, drawn)

    def one(parts):
        image, draw = tree.pack_sequence_as((images, drawn), [part[None] for part in parts])
        return tree.map_structure(lambda values: values[0], apply(image, draw))

    return ops.map(one, tree.flatten((images, drawn)))


def together(view: Callable, images: Any, chosen: Sequence[seeds.Seed]) -> list:
    """Applies one view with several seeds as one batch: fewer and larger operations, the same results.

    Args:
        view: function of images and seed.
        images: `[B, H, W, C]`, or a dictionary of maps.
        chosen: the seeds.

    Returns:
        What the view makes with each seed.
    """
    count = len(chosen)
    if count == 1:
        return [view(images, chosen[0])]
    words = zip(*(seed.key for seed in chosen), strict=True)
    seed = seeds.Seed(chosen[0].value, tuple(ops.concatenate(word, axis=0) for word in words))  # keys [count * B]
    repeated = tree.map_structure(lambda values: ops.concatenate([values] * count, axis=0), images)
    made = view(repeated, seed)
    parts = [ops.split(values, count, axis=0) for values in tree.flatten(made)]
    return [tree.pack_sequence_as(made, [part[number] for part in parts]) for number in range(count)]
