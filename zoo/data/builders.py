"""Datasets that TFDS prepares, as stores of records."""

import difflib
import pathlib

import numpy as np
import tensorflow_datasets as tfds

from zoo.data import packaged, records, splits, stores


def prepared(name, data_dir=None):
    """The TFDS builder called `name`, prepared: downloads it if need be.

    Raises:
        ValueError: TFDS knows no such dataset, or it is prepared in a format other than TFRecord.
        RuntimeError: it could not be downloaded or prepared.
    """
    builder = found(name, data_dir)
    if not builder.is_prepared():
        try:
            builder.download_and_prepare()
        except Exception as error:  # TFDS lets through whatever its downloader and the builder's code raise.
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            remedy = "run `zoo-data prepare` where there is a network, and pass its data_dir here"
            if builder.name in packaged.PACKAGES:
                package = packaged.PACKAGES[builder.name]
                remedy = f"`zoo-data import {builder.name} --from={package.folder}` reads its raw files from disk"
            raise RuntimeError(
                f"{name}: expected a prepared dataset in {builder.data_dir}, and could not download it "
                f"({reason}); {remedy}."
            ) from error
    if builder.info.file_format is not None and builder.info.file_format.value != "tfrecord":
        raise ValueError(
            f"{name}: expected data prepared as tfrecord. Received: {builder.info.file_format.value} in "
            f"{builder.data_dir}; prepare it in another data_dir."
        )
    return builder


def found(name, data_dir=None):
    """The TFDS builder called `name`, prepared or not.

    Raises:
        ValueError: there is none; says which name comes close.
    """
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError as error:
        stem = name.partition("/")[0].partition(":")[0]
        known = ["digits", *tfds.list_builders(with_community_datasets=False)]
        close = difflib.get_close_matches(stem, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"load: expected 'digits', 'folder:/path/to/images' or the name of a TFDS dataset. "
            f"Received: name={name!r}.{hint}"
        ) from error


def image_and_label(builder):
    """The names of a builder's image feature and of its class label, or None for the latter.

    TFDS' supervised pair decides where there is one.

    Raises:
        ValueError: there is not exactly one image.
    """
    features = builder.info.features
    pair = [key for key in builder.info.supervised_keys or () if isinstance(key, str)]
    pictures = [key for key, feature in features.items() if type(feature) is tfds.features.Image]
    image = next((key for key in pair if key in pictures), pictures[0] if len(pictures) == 1 else None)
    if image is None or np.dtype(features[image].np_dtype) != np.uint8:
        raise ValueError(f"{builder.name}: expected one feature that is a uint8 image. Received: features={features}.")
    names = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    label = next((key for key in (*pair, "label") if key in names), None)
    return image, label


def store(builder, split, size=None, channels=None):
    """The records of the splits that a split string names.

    Returns:
        A `stores.Records`, np.int64 positions in it that `split` selects, np.int64 ids of those, names of the classes
        (or None).

    Raises:
        ValueError: an unknown split, or images of several shapes without `size`.
    """
    infos = dict(builder.info.splits)
    ids = splits.rows(split, infos, builder.name)
    image, label = image_and_label(builder)
    stored = builder.info.features[image].shape
    if size is None and None in stored[:2]:
        raise ValueError(
            f"{builder.name}: expected `size`, the side of the square to fit images to, as they have several shapes. "
            "Received: size=None; bind `sources.load.size` in gin."
        )
    ends = np.cumsum([infos[name].num_examples for name in splits.ordered(infos)])
    paths, counts, positions, before = [], [], np.empty(len(ids), np.int64), 0
    for name, start, end in zip(splits.ordered(infos), splits.offsets(infos), ends, strict=True):
        inside = (ids >= start) & (ids < end)
        if inside.any():
            paths += [pathlib.Path(path) for path in infos[name].filepaths]
            counts += infos[name].shard_lengths
            positions[inside] = ids[inside] - start + before
            before += end - start
    index = records.Index(paths, counts)
    kept = stores.Records(index, (image, label), stored, channels or (1 if stored[-1] <= 2 else 3), size)
    return kept, positions, ids, builder.info.features[label].names if label else None
