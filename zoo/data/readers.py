"""The readers of `sources.load` that need TensorFlow: TFDS datasets, folders of images, digits of another size."""

import functools
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.data import builders, folders, images, splits, stores, tf_stores, tf_stream

_logger = logging.getLogger(__name__)

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
    max_pixels: int,
) -> Parts:
    """Returns store, positions, ids and classes of a TFDS dataset; arguments as in `zoo.data.sources.load`."""
    return builders.store(builders.prepared(name, data_dir), split, size, channels, image, extra, max_pixels)


def report(who: str, parts: Parts) -> Any:
    """Returns a function that warns if the labels of a slice of a TFDS dataset lack classes; None for whole splits.

    The classes are those that the dataset names: to find which of them a split holds would take a pass over it.

    Args:
        who: name of the dataset and of the slice.
        parts: what `dataset` returned for the slice.
    """
    store, positions, _, classes = parts
    if classes is None or not isinstance(store, tf_stores.Records) or len(np.unique(positions)) == len(store.index):
        return None
    return functools.partial(splits.report_unused, classes=classes, who=who, whole=who.partition(" ")[0])


def folder(
    name: str, split: Any, size: int | None, channels: int, skip_broken: bool, settings: stores.Decoding
) -> tuple[stores.Store, np.ndarray, np.ndarray, Sequence[str] | None, Sequence[str]]:
    """Returns store, positions, ids, classes and skipped files of a folder; arguments as in `zoo.data.sources.load`."""
    root, skipped = name.removeprefix("folder:"), []
    found = folders.listing(root)
    if skip_broken:
        skipped = sorted(path for path, reason in examined(found, settings) if reason)
        found = folders.listing(root, skipped)
        if skipped:
            _logger.warning("%s: skipped %d files that cannot be read: %s.", name, len(skipped), splits.listed(skipped))
    if found.unusable:
        reasons = splits.listed(f"{path} ({reason})" for path, reason in found.unusable.items())
        raise ValueError(f"load: expected images that can be read. Received: folder={root!r} with {reasons}.")
    for note in found.notes:
        _logger.warning("%s: %s.", name, note)
    ids = splits.rows(split, found.counts, name)
    if found.labels is not None:
        splits.report_lacking(ids, found.counts, found.labels, found.classes, f"{name} {split}")
    store = tf_stores.Files([f"{found.root}/{path}" for path in found.paths], found.labels, channels, size, settings)
    labeled = found.labels is not None and np.any(found.labels[ids] >= 0)
    return store, ids, ids, found.classes if labeled else None, skipped


def examined(found: folders.Listing, settings: stores.Decoding) -> Iterator[tuple[str, str | None]]:
    """Decodes all images of a folder and logs the progress every 10 s.

    Args:
        found: the images.
        settings: of the decoder.

    Yields:
        The relative path of every image, and why it cannot be read; None if it can.
    """
    yield from found.unusable.items()
    store = tf_stores.Files(
        [f"{found.root}/{path}" for path in found.paths], None, channels=3, size=1, settings=settings
    )

    def reason(position):
        try:
            store.explain([position])
        except ValueError as error:
            return str(error).removeprefix("load: ")

    began = logged = time.monotonic()
    count = len(found.paths)
    with futures.ThreadPoolExecutor(tf_stream.PARALLEL) as pool:
        for start in range(0, count, 1024):
            stop = min(start + 1024, count)
            yield from zip(found.paths[start:stop], pool.map(reason, range(start, stop)), strict=True)
            if (now := time.monotonic()) - logged > 10:
                logged, rate = now, stop / (now - began)
                _logger.info("Checked %d of %d images, %.0f s left.", stop, count, (count - stop) / rate)


def fitted(pixels: np.ndarray, labels: np.ndarray, channels: int, size: int | None) -> stores.Store:
    """Returns gray images, np.uint8 `[n, H, W, 1]`, as a store of the given channels and size."""
    with tf.device("CPU:0"):
        pixels = images.unified(tf.constant(pixels), channels)
        pixels = pixels if size is None else images.fitted(pixels, size)
    return tf_stores.Memory({"image": pixels}, labels)


def counts(name: str, data_dir: Any = None) -> dict[str, int]:
    """Returns split name -> number of examples, of a TFDS dataset or a folder."""
    if name.startswith("folder:"):
        return folders.listing(name.removeprefix("folder:")).counts
    return {part: info.num_examples for part, info in builders.prepared(name, data_dir).info.splits.items()}
