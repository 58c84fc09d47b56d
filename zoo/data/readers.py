"""What `sources.load` reads by TensorFlow: TFDS data sets, folders of images, and pictures fitted to a size."""

import numpy as np
import tensorflow as tf

from zoo.data import builders, folders, images, splits, stores


def dataset(name, split, size, channels, data_dir, modalities):
    """A TFDS data set: store, positions, ids, classes and modalities of a `zoo.data.sources.Source`."""
    found = builders.prepared(name, data_dir)
    store, positions, ids, classes = builders.store(found, split, size, channels, modalities)
    return store, positions, ids, classes, modalities and store.channels


def folder(name, split, size, channels):
    """A folder of images, likewise."""
    found = folders.listing(name.removeprefix("folder:"))
    # Split strings count through the splits one after another, ids through the sorted paths.
    ids = np.concatenate([found.members[part] for part in splits.ordered(found.members)])
    ids = ids[splits.rows(split, _counts(found), name)]
    store = stores.Files([f"{found.root}/{path}" for path in found.paths], found.labels, channels, size)
    labelled = found.labels is not None and np.any(found.labels[ids] >= 0)
    return store, ids, ids, found.classes if labelled else None, None


def fitted(pixels, labels, channels, size):
    """Grey pictures, np.uint8 `[n, H, W, 1]`, as a store of so many channels and that size."""
    with tf.device("CPU:0"):
        pixels = images.unified(tf.constant(pixels), channels)
        pixels = pixels if size is None else images.fitted(pixels, size)
    return stores.Memory(pixels, labels)


def counts(name, data_dir=None):
    """Split name -> number of examples, of a TFDS data set or a folder."""
    if name.startswith("folder:"):
        return _counts(folders.listing(name.removeprefix("folder:")))
    return {part: info.num_examples for part, info in builders.prepared(name, data_dir).info.splits.items()}


def _counts(listing):
    return {part: len(rows) for part, rows in listing.members.items()}
