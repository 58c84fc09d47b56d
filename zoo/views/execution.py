"""How views run: as one batch or image by image, with barriers, selection by masks, and equal chains batched together.

Within `context.using(image_by_image=True)` views are traced as a loop over images. This is faster where XLA compiles
for a CPU: an image stays in the processor's cache from step to step, where a batch would go to memory and back, and
what was not drawn for an image is not computed. Elsewhere batches are faster.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops, tree

from zoo import context, engine, seeds


def is_single(images: Any) -> bool:
    """Returns whether this is one image of a loop over images, so that only what was drawn has to be computed."""
    return context.current().image_by_image and tree.flatten(images)[0].shape[0] == 1


def barrier(tensors: Any) -> Any:
    """Returns the same tensors; image by image, they are computed before anything that uses them.

    XLA would otherwise fuse them into everything that uses them and compute them anew for each use.
    """
    return engine.current().barrier(tensors) if context.current().image_by_image else tensors


def selected(mask: Any, images: Any, others: Any) -> Any:
    """Selects one of two results for each image.

    Args:
        mask: bool `[B]`.
        images: finite float32 `[B, ...]`, or a dictionary of such; taken where the mask is true.
        others: the same structure and shapes; taken elsewhere.

    Returns:
        The same structure and shapes.
    """

    def select(image, other):
        if image is other:
            return image
        factor = ops.reshape(ops.cast(mask, "float32"), (-1,) + (1,) * (len(image.shape) - 1))
        # As exact as a selection, and several times faster on a CPU, where a mask that broadcasts is slow.
        return factor * image + (1 - factor) * other

    return tree.map_structure(select, images, others)


def changed(mask: Any, change: Callable, images: Any) -> Any:
    """Returns `change(images)` for the images where `mask` [B] is true, and the other images as they are."""
    if is_single(images):
        return ops.cond(mask[0], lambda: change(images), lambda: images)
    return selected(mask, change(images), images)


def folds(seed: seeds.Seed, count: int) -> list[seeds.Seed]:
    """Returns the seeds `seed.fold(0)` to `seed.fold(count - 1)`, computed in one operation."""
    spread = seeds.Seed(seed.value, tuple(ops.convert_to_tensor(word)[:, None] for word in seed.key))  # keys [B, 1]
    first, second = spread.fold(np.arange(count, dtype="int32")).key  # [B, count]
    return [seeds.Seed(seed.value, (first[:, i], second[:, i])) for i in range(count)]


def run(apply: Callable, images: Any, drawn: Any) -> Any:
    """Applies a view under a draw, to the batch at once or image by image.

    Args:
        apply: function of images and a draw.
        images: `[B, H, W, C]`, or a dictionary of such.
        drawn: nest of tensors `[B, ...]`.

    Returns:
        What `apply` returns for the batch.
    """
    drawn = engine.current().barrier(drawn)
    if not context.current().image_by_image:
        return apply(images, drawn)

    def single(parts):
        image, draw = tree.pack_sequence_as((images, drawn), [part[None] for part in parts])
        return tree.map_structure(lambda result: result[0], apply(image, draw))

    return ops.map(single, tree.flatten((images, drawn)))


def groups(items: Sequence) -> list[list[int]]:
    """Returns the positions of the items, grouped by equality; groups are in the order of their first items."""
    found: list[list[int]] = []
    for position, item in enumerate(items):
        group = next((group for group in found if items[group[0]] == item), None)
        if group is None:
            found.append([position])
        else:
            group.append(position)
    return found


def repeated(images: Any, count: int) -> Any:
    """Returns `count` copies of a batch, one after the other, `[count * B, ...]`."""
    return images if count == 1 else tree.map_structure(lambda x: ops.concatenate([x] * count, axis=0), images)


def joined(batches: Sequence[seeds.Seed]) -> seeds.Seed:
    """Returns the seeds of several batches, one after the other, keys `[count * B]`."""
    if len(batches) == 1:
        return batches[0]
    words = zip(*(batch.key for batch in batches), strict=True)
    return seeds.Seed(batches[0].value, tuple(ops.concatenate(word, axis=0) for word in words))
