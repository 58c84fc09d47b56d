"""Datasets that TFDS prepares, as stores of records."""

import difflib
import pathlib

import numpy as np
import tensorflow_datasets as tfds

# The modules of the zoo's own builders are imported so that TFDS knows these.
from zoo.data import openclipart, packaged, records, scenes, splits, stores  # noqa: F401


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
    return image, class_label(builder)


def class_label(builder):
    """The name of a builder's class label, or None."""
    pair = [key for key in builder.info.supervised_keys or () if isinstance(key, str)]
    names = [key for key, feature in builder.info.features.items() if isinstance(feature, tfds.features.ClassLabel)]
    return next((key for key in (*pair, "label") if key in names), None)


def pictures(builder, names):
    """The shapes of some uint8 image features of a builder.

    Args:
        builder: a TFDS builder.
        names: of the features, in order.

    Returns:
        Dict of feature name -> (H, W, C) as stored, in that order.

    Raises:
        ValueError: an unknown feature, one that is no uint8 image, one that is asked for twice, or images of several
            heights or widths.
    """
    features = builder.info.features
    possible = [
        key
        for key, feature in features.items()
        if isinstance(feature, tfds.features.Image) and np.dtype(feature.np_dtype) == np.uint8
    ]
    for name in names:
        if name not in possible:
            close = difflib.get_close_matches(str(name), possible, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            what = "which is no uint8 image" if name in features else "which it does not have"
            raise ValueError(
                f"{builder.name}: expected modalities among {', '.join(possible)}. Received: {name!r}, {what}.{hint}"
            )
    shapes = {name: features[name].shape for name in names}
    if len(shapes) != len(names):
        raise ValueError(f"{builder.name}: expected each modality once. Received: modalities={tuple(names)}.")
    if len({shape[:2] for shape in shapes.values()}) != 1:
        raise ValueError(f"{builder.name}: expected modalities of one height and width. Received: {shapes}.")
    return shapes


def store(builder, split, size=None, channels=None, modalities=None):
    """The records of the splits that a split string names.

    Args:
        builder: a prepared TFDS builder.
        split: split string.
        size: side of the square to fit images to, or None.
        channels: 1 or 3; by default what the images have.
        modalities: names of the image features to join along their channels; by default the one image there is.

    Returns:
        A `stores.Records`, np.int64 positions in it that `split` selects, np.int64 ids of those, names of the classes
        (or None).

    Raises:
        ValueError: an unknown split, or images of several shapes without `size`.
    """
    infos = dict(builder.info.splits)
    sizes = {name: info.num_examples for name, info in infos.items()}
    if "shard" in str(split):  # of files, which TFDS alone knows
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
        split = "+".join(f"{part.splitname}[{part.from_ or 0}:{part.to or sizes[part.splitname]}]" for part in parts)
    ids = splits.rows(split, sizes, builder.name)
    if modalities is None:
        image, label = image_and_label(builder)
        modalities = (image,)
    else:
        label = class_label(builder)
    shapes = pictures(builder, modalities)
    if size is None and any(None in shape[:2] for shape in shapes.values()):
        raise ValueError(
            f"{builder.name}: expected `size`, the side of the square to fit images to, as they have several shapes. "
            "Received: size=None; bind `sources.load.size` in gin."
        )
    names, positions = splits.within(ids, sizes)
    paths = [pathlib.Path(path) for name in names for path in infos[name].filepaths]
    counts = [count for name in names for count in infos[name].shard_lengths]
    index = records.Index(paths, counts)
    # Transparency is laid over white, so that two channels become one, and four three.
    kinds = {name: (shape, channels or (1 if shape[-1] <= 2 else 3)) for name, shape in shapes.items()}
    kept = stores.Records(index, kinds, label, size)
    return kept, positions, ids, builder.info.features[label].names if label else None
