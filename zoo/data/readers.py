"""The readers of `sources.load` that need TensorFlow: TFDS datasets, folders of images, digits of another size."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.data import builders, folders, images, splits, stores, tf_stores

# The last four arguments of a `zoo.data.sources.Source`: store, positions, ids, classes.
Parts = tuple[stores.Store, np.ndarray, np.ndarray, Sequence[str] | None]


def dataset(
    name: str,
    split: Any,
    size: int | None,
    channels: int | None,
    data_dir: Any,
    image: str | None,
    extra: Sequence[str],
) -> Parts:
    """Returns store, positions, ids and classes of a TFDS dataset; arguments as in `zoo.data.sources.load`."""
    return builders.store(builders.prepared(name, data_dir), split, size, channels, image, extra)


def folder(name: str, split: Any, size: int | None, channels: int) -> Parts:
    """Returns store, positions, ids and classes of a folder of images; arguments as in `zoo.data.sources.load`."""
    found = folders.listing(name.removeprefix("folder:"))
    # Split strings count through the splits one after another, ids through the sorted paths.
    ids = np.concatenate([found.members[part] for part in splits.ordered(found.members)])
    ids = ids[splits.rows(split, _counts(found), name)]
    store = tf_stores.Files([f"{found.root}/{path}" for path in found.paths], found.labels, channels, size)
    labeled = found.labels is not None and np.any(found.labels[ids] >= 0)
    return store, ids, ids, found.classes if labeled else None


def fitted(pixels: np.ndarray, labels: np.ndarray, channels: int, size: int | None) -> stores.Store:
    """Returns gray images, np.uint8 `[n, H, W, 1]`, as a store of the given channels and size."""
    with tf.device("CPU:0"):
        pixels = images.unified(tf.constant(pixels), channels)
        pixels = pixels if size is None else images.fitted(pixels, size)
    return tf_stores.Memory({"image": pixels}, labels)


def counts(name: str, data_dir: Any = None) -> dict[str, int]:
    """Returns split name -> number of examples, of a TFDS dataset or a folder."""
    if name.startswith("folder:"):
        return _counts(folders.listing(name.removeprefix("folder:")))
    return {part: info.num_examples for part, info in builders.prepared(name, data_dir).info.splits.items()}


def _counts(listing):
    return {part: len(rows) for part, rows in listing.members.items()}
