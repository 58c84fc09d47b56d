"""Finds examples by name, or makes a `Source` of arrays in memory."""

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from zoo import checks
from zoo.data import arrays, numpy_stores, splits, stores
from zoo.data.source import Source

# Sources whose decoded examples take at most this many bytes are kept in memory.
IN_MEMORY_BYTES = 2 * 1024**3
# Keys of a batch that every source has, or that mean its image.
_RESERVED = ("image", "label", "id")
_DIGITS = {"train": 1297, "test": 500}
_ARRAYS = "arrays:"


def load(
    name: str = "digits",
    split: Any = "train",
    size: int | None = None,
    channels: int | None = None,
    data_dir: Any = None,
    in_memory: bool | None = None,
    image: str | None = None,
    extra: Sequence[str] = (),
    skip_broken: bool = False,
    white: float | None = None,
    max_pixels: int = stores.PIXELS,
) -> Source:
    """Finds a dataset by name.

    Args:
        name: `digits` (scikit-learn's 8x8 digits: 1,297 to train, 500 to test), `folder:/path/to/images` (see
            `zoo.data.folders.listing`), `arrays:/path/to/export` (see `zoo.data.arrays`), or a TFDS name such as
            `cifar10` or `imagenet_v2/topimages`. The zoo adds `scenes`, `openclipart` and `icons` to those of TFDS.
            Backends other than TensorFlow read the export of a TFDS dataset or folder; see `zoo.data.arrays.place`.
        split: TFDS split string: `train`, `train[:10%]`, `train[100:200]`, `train+test`, `all`; or a
            `tfds.core.ReadInstruction`.
        size: side of the square that images are fitted to (center crop, antialiased); None keeps them as they are.
        channels: 1 or 3, for the image; by default what the dataset has, and 3 for folders.
        data_dir: data folder of TFDS; `$TFDS_DATA_DIR` or `~/tensorflow_datasets` by default.
        in_memory: whether to decode all examples at once; by default if that takes at most 2 GiB.
        image: name of the feature of a TFDS dataset that becomes the "image" of its examples; by default its only
            image feature.
        extra: names of further features of a TFDS dataset, which become keys of every batch, such as
            `("depth", "normals")` of `scenes`. Features that TFDS stores as uint8 images are fitted to `size` like the
            image, bilinearly, which blends the class numbers of masks. Other features come unchanged and must have a
            numeric type and a static shape. An export has all extra keys that it was made with by default.
        skip_broken: whether files of a folder that cannot be read are left out; `Source.skipped` names them. To find
            them, all images of the folder are decoded first. By default they are refused when they are reached.
        white: sample that becomes white, for gray files of a folder that have more than 8 bits, such as 4095 of a
            12-bit camera; by default the largest that the depth in the file allows. Files of 32-bit or float samples
            state none.
        max_pixels: number of pixels of an image file above which it is refused.

    Raises:
        ValueError: unknown name, split or feature, images of several shapes without `size`, an image that cannot be
            read.
        FileNotFoundError: a missing export, or a TFDS dataset that is not prepared and could not be.
    """
    valid = size is None or checks.is_integer(size)
    checks.require(valid, "load", "`size` to be a positive integer or None", size=size)
    checks.require(channels in (None, 1, 3), "load", "`channels` to be 1, 3 or None", channels=channels)
    checks.require(isinstance(name, str) and name != "", "load", "`name` to be the name of a dataset", name=name)
    extra = _checked_extra(name, image, extra)
    valid = skip_broken is False or (skip_broken is True and name.startswith("folder:"))
    checks.require(valid, "load", "`skip_broken` to be False, or True for a folder", skip_broken=skip_broken, name=name)
    settings = stores.Decoding(max_pixels, white)
    valid = white is None or name.startswith("folder:")
    checks.require(valid, "load", "`white` to be None for data other than a folder", white=white, name=name)
    if name == "digits" and (size is None or _on_tensorflow()):
        return _digits(split, size, channels or 1, in_memory)
    if name.startswith(_ARRAYS) or not _on_tensorflow():
        return _exported(name, split, size, channels, data_dir, image, extra, white)
    from zoo.data import readers

    if name.startswith("folder:"):
        store: Any
        store, positions, ids, classes, skipped = readers.folder(
            name, split, size, channels or 3, skip_broken, settings
        )
        contents = functools.partial(store.contents, positions)
        source = Source(name, str(split), store, positions, ids, classes, contents, skipped)
    else:
        parts = readers.dataset(name, split, size, channels, data_dir, image, extra, max_pixels)
        source = Source(name, str(split), *parts, report=readers.report(f"{name} {split}", parts))
    if in_memory is None:
        in_memory = source.size * _bytes(source.spec) <= IN_MEMORY_BYTES
    return source.decoded() if in_memory else source


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    labels: np.ndarray | None = None,
    name: str = "arrays",
    classes: Sequence[str] | None = None,
) -> Source:
    """Makes a source of arrays in memory.

    Args:
        arrays: key -> numbers `[n, ...]`. "image", if there is one, is uint8 `[n, H, W, C]`; other keys, such as
            `"x"` of vectors `[n, D]`, may have any shape and numeric type. All keys have the same n.
        labels: integers `[n]`, -1 where unknown, or None.
        name: name of the source in messages and records.
        classes: names of the classes, or None.

    Returns:
        A `Source` whose ids are 0 to n - 1.

    Raises:
        ValueError: arrays of different lengths, of the wrong type, or under a reserved key; labels out of range.
    """
    named = {key: np.asarray(array) for key, array in arrays.items()}
    shapes = {key: array.shape for key, array in named.items()}
    counts = {shape[:1] for shape in shapes.values()}
    expected = "one or more `arrays` of one length n > 0"
    checks.require(len(counts) == 1 and counts.isdisjoint({(), (0,)}), "from_arrays", expected, shapes=shapes)
    ((count,),) = counts
    for key, array in named.items():
        valid = isinstance(key, str) and key not in ("", "label", "id")
        checks.require(valid, "from_arrays", "keys other than 'label', which is `labels`, and 'id'", key=key)
        checks.require(array.dtype.kind in "biuf", "from_arrays", f"numbers in arrays[{key!r}]", dtype=str(array.dtype))
    if "image" in named:
        pixels = named["image"]
        valid = pixels.dtype == np.uint8 and pixels.ndim == 4
        received = f"{pixels.dtype} {pixels.shape}"
        checks.require(valid, "from_arrays", "arrays['image'] to be uint8 [n, H, W, C]", image=received)
    if labels is not None:
        labels = np.asarray(labels)
        valid = labels.shape == (count,) and labels.dtype.kind in "iu"
        received = f"{labels.dtype} {labels.shape}"
        checks.require(valid, "from_arrays", f"`labels` to be integers [{count}]", labels=received)
        labels = labels.astype(np.int64)
        most = np.iinfo(np.int32).max if classes is None else len(classes) - 1
        lowest, highest = int(labels.min()), int(labels.max())
        valid = lowest >= -1 and highest <= most
        checks.require(valid, "from_arrays", f"`labels` from -1 to {most}", lowest=lowest, highest=highest)
    rows, store = np.arange(count), _in_memory(named, labels)
    return Source(name, "all", store, rows, rows, classes, functools.partial(_digest, store, sorted(named)))


def _digest(store, keys):
    """Returns the SHA-256 of arrays in memory."""
    found = hashlib.sha256()
    for key in keys:
        found.update(store.array(key).tobytes())
    return found.hexdigest()


def counts(name: str, data_dir: Any = None) -> dict[str, int]:
    """Returns split name -> number of examples, for any data that `load` finds; arguments as there."""
    if name == "digits":
        return dict(_DIGITS)
    if name.startswith(_ARRAYS):
        return dict(arrays.Export(name.removeprefix(_ARRAYS)).counts)
    from zoo.data import readers

    return readers.counts(name, data_dir)


def _on_tensorflow():
    return keras.config.backend() == "tensorflow"


def _in_memory(named, labels):
    """Arrays by key as the store that suits the backend."""
    if not _on_tensorflow():
        return numpy_stores.Arrays(named, labels)
    from zoo.data import tf_stores

    return tf_stores.Memory(named, labels)


def _bytes(spec):
    """The memory that one example takes."""
    kept = [value for key, value in spec.items() if key not in ("label", "id")]
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in kept)


def _checked_extra(name, image, extra):
    """`extra` as a tuple, after the names of the features were checked."""
    sequence = isinstance(extra, (list, tuple)) and all(isinstance(feature, str) for feature in extra)
    expected = "`extra` to be names of features, such as ('depth', 'normals')"
    checks.require(sequence and len(set(extra)) == len(extra), "load", expected, extra=extra)
    expected = f"`extra` without {', '.join(map(repr, _RESERVED))}, keys that every batch has for itself"
    checks.require(not set(extra) & set(_RESERVED), "load", expected, extra=extra)
    valid = image is None or (isinstance(image, str) and image not in extra)
    checks.require(valid, "load", "`image` to be the name of a feature that is not in `extra`", image=image)
    if name == "digits" or name.startswith("folder:"):
        expected = f"neither `image` nor `extra`, as {name!r} has one image and nothing else"
        checks.require(image is None and not extra, "load", expected, image=image, extra=extra)
    return tuple(extra)


def _exported(name, split, size, channels, data_dir, image, extra, white):
    """Data from an export: by the export's path, or by the name of the data it was made from."""
    settings = {"size": size, "channels": channels, "image": image}
    if name.startswith(_ARRAYS):
        wanted = {key: value for key, value in settings.items() if value is not None}
        export = arrays.Export(name.removeprefix(_ARRAYS))
    else:
        archive = arrays.place(name, **settings, extra=extra, data_dir=data_dir)
        found = [path for path in (archive, archive.with_suffix("")) if path.exists()]
        if not found:
            flags = settings | {"extra": ",".join(extra) or None}
            flags |= {"white": white}
            given = "".join(f" --{key}={value}" for key, value in flags.items() if value is not None)
            raise FileNotFoundError(
                f"load: expected the arrays of {name} in {archive}, as {keras.config.backend()} reads no TFDS data. "
                f"Received: no such file; make it where TensorFlow is installed: zoo-data export {name}{given}"
            )
        wanted = settings | {"name": name, "white": white}
        export = arrays.Export(found[0])
    keys = arrays.check(export, wanted, extra)
    rows = splits.rows(split, export.counts, name)
    names, positions = splits.within(rows, export.counts)  # other splits are not read
    labels, classes = export.labels(names), export.meta["classes"]
    if labels is not None:
        read = {part: export.counts[part] for part in names}
        splits.report_lacking(positions, read, labels, classes, f"{name} {split}")
    store, skipped = _in_memory(export.arrays(names, keys), labels), export.meta.get("skipped", ())
    return Source(name, str(split), store, positions, rows, classes, skipped=skipped)


def _digits(split, size, channels, in_memory):
    checks.require(in_memory is not False, "load", "`in_memory` to be True or None for digits", in_memory=in_memory)
    from sklearn import datasets

    raw = datasets.load_digits()
    ids = splits.rows(split, _DIGITS, "digits")
    pixels = np.rint(raw.images[ids] * (255 / 16)).astype(np.uint8)[..., None]  # [n, 8, 8, 1]
    labels, classes = raw.target[ids].astype(np.int64), [str(digit) for digit in raw.target_names]
    splits.report_lacking(ids, _DIGITS, raw.target, classes, f"digits {split}")
    if _on_tensorflow():
        from zoo.data import readers

        store = readers.fitted(pixels, labels, channels, size)
    else:
        store = numpy_stores.Arrays({"image": np.repeat(pixels, channels, axis=-1)}, labels)
    return Source("digits", str(split), store, np.arange(len(ids)), ids, classes)
