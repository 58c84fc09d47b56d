"""Examples by name: `load` finds them; a `Source` returns them as arrays, in one pass, or as a training stream."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from zoo import checks
from zoo.data import arrays, numpy_stores, splits, stores

# Sources whose decoded examples take at most this many bytes are kept in memory.
IN_MEMORY_BYTES = 2 * 1024**3
# Keys of a batch that every source has, or that mean its image.
_RESERVED = ("image", "label", "id")
_DIGITS = {"train": 1297, "test": 500}
_ARRAYS = "arrays:"


class Source:
    """Examples in a fixed order.

    An example has an "id", a "label" (-1 if none), usually an "image", and whatever else the source declares: depth
    maps, masks, boxes, vectors. Make one with `load` or `from_arrays`.

    Args:
        name: name of the data, as given to `load`.
        split: split string, as given to `load`.
        store: where the examples are.
        positions: np.int64 `[n]`, positions of the examples in the store.
        ids: np.int64 `[n]`, positions of the examples within the whole dataset. Subsets keep the ids.
        classes: names of the classes, or None.
    """

    def __init__(
        self,
        name: str,
        split: str,
        store: stores.Store,
        positions: np.ndarray,
        ids: np.ndarray,
        classes: Sequence[str] | None,
    ):
        self.name = name
        self.split = split
        self.classes = list(classes) if classes is not None else None
        self.ids = np.asarray(ids, np.int64)
        self._store = store
        self._positions = np.asarray(positions, np.int64)

    def __repr__(self):
        kept = "in memory" if self.in_memory else "streamed"
        keys = ", ".join(f"{key} {shape}" for key, (shape, _) in self.spec.items() if key not in ("label", "id"))
        return f"Source({self.name!r}, {self.split!r}, {self.size} examples of {keys}, {kept})"

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self._positions)

    @property
    def spec(self) -> stores.Spec:
        """Shape and dtype of every key of an example, such as `{"image": ((32, 32, 3), "uint8"), ...}`."""
        return {**self._store.spec, "id": ((), "int32")}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image.

        Raises:
            ValueError: the examples have no image.
        """
        checks.require("image" in self.spec, "Source", f"{self.name} to have a key 'image'", keys=list(self.spec))
        return self.spec["image"][0]  # type: ignore[return-value]

    @property
    def in_memory(self) -> bool:
        """Whether the decoded examples are kept in memory."""
        return self._store.in_memory

    @functools.cached_property
    def labels(self) -> np.ndarray | None:
        """np.int64 `[n]`, -1 where unknown; None if no example has one. Takes a pass over a streamed TFDS dataset."""
        labels = self._store.labels
        if labels is not None and np.any(labels[self._positions] >= 0):
            return labels[self._positions]
        return None

    @property
    def class_count(self) -> int:
        """Number of classes: that of their names, or the largest label + 1 if they have no names; 0 if unlabeled."""
        if self.classes is not None:
            return len(self.classes)
        return 0 if self.labels is None else int(self.labels.max()) + 1

    @functools.cached_property
    def images(self) -> np.ndarray | None:
        """np.uint8 `[n, H, W, C]` if in memory, else None."""
        if not self.in_memory:
            return None
        pixels = self._image_array()
        whole = np.array_equal(self._positions, np.arange(len(pixels)))
        return pixels if whole else pixels[self._positions]

    def fetch(self, rows: Any) -> np.ndarray:
        """Returns the images of some examples.

        Args:
            rows: integers `[k]` in [0, size), or bools `[size]`.

        Returns:
            np.uint8 `[k, H, W, C]`.

        Raises:
            ValueError: the examples have no image, or an image cannot be read; the message names it.
        """
        positions = self._positions[self._checked(rows)]
        if self.in_memory:
            return self._image_array()[positions]
        assert self.image_shape
        return self._store.examples(positions)["image"]

    def examples(self, rows: Any) -> dict[str, np.ndarray]:
        """Returns some examples as one batch of NumPy arrays, with all keys of `spec`.

        Args:
            rows: integers `[k]` in [0, size), or bools `[size]`.

        Raises:
            ValueError: an example cannot be read; the message names it.
        """
        rows = self._checked(rows)
        return self._store.examples(self._positions[rows]) | {"id": self.ids[rows].astype(np.int32)}

    def subset(self, rows: Any) -> "Source":
        """Returns the examples at `rows`, integers `[k]` or bools `[n]`, as a source; nothing is copied."""
        rows = self._checked(rows)
        return self._with(self._store, self._positions[rows], self.ids[rows])

    def batches(
        self, batch_size: int, seed: int, start: int = 0, steps: int | None = None, shard: stores.Shard = (0, 1)
    ) -> Any:
        """Returns the training stream: a fresh order every epoch, and only whole batches.

        Step s lies in epoch `s // (size // batch_size)`. Batches depend on the arguments alone, so a run that resumes
        at step `start` sees the batches that it would have seen without the interruption.

        Args:
            batch_size: size of the global batch.
            seed: integer in [0, 2**64) that determines the order.
            start: the first step.
            steps: number of steps; endless if None.
            shard: (i, k): only the i-th of k equal contiguous parts of every global batch.

        Returns:
            A `tf.data.Dataset` under TensorFlow, an iterator under other backends, of `{"image": uint8 [B, H, W, C],
            "label": int32 [B] (-1 if none), "id": int32 [B], ...}`: one entry per key of `spec`, B = batch_size / k.

        Raises:
            ValueError: a batch larger than the source or not divisible by k; any argument out of range.
        """
        part, shards = (int(number) for number in shard)
        require = functools.partial(checks.require, who="batches")
        fits = 0 < batch_size <= self.size
        require(fits, expected=f"`batch_size` from 1 to the {self.size} examples of {self.name}", batch_size=batch_size)
        require(0 <= part < shards, expected="`shard` to be (i, k) with 0 <= i < k", shard=shard)
        whole = batch_size % shards == 0
        require(whole, expected=f"`batch_size` to be a multiple of the {shards} shards", batch_size=batch_size)
        require(start >= 0, expected="`start` >= 0", start=start)
        require(steps is None or steps >= 0, expected="`steps` >= 0, or None", steps=steps)
        require(0 <= seed < 2**64, expected="`seed` in [0, 2**64)", seed=seed)
        stream = self._store.stream
        rows = stream.shuffled(self.size, int(batch_size), int(seed), int(start), steps, (part, shards))
        return stream.batches(rows, self._store, self._positions, self.ids)

    def in_order(self, batch_size: int) -> Any:
        """Returns one pass in order, as batches like those of `batches`; the last may be shorter."""
        checks.require(batch_size > 0, "in_order", "`batch_size` > 0", batch_size=batch_size)
        stream = self._store.stream
        return stream.batches(stream.in_order(self.size, batch_size), self._store, self._positions, self.ids)

    def decoded(self) -> "Source":
        """Returns the same source with all examples in memory.

        Raises:
            ValueError: an example cannot be read; the message names it.
        """
        if self.in_memory:
            return self
        from zoo.data import tf_stores, tf_stream

        tensors = tf_stream.collected(self._store, self._positions, 512)
        labels = tensors.pop("label").numpy().astype(np.int64)
        store = tf_stores.Memory(tensors, labels if np.any(labels >= 0) else None)
        return self._with(store, np.arange(self.size), self.ids)

    def _with(self, store, positions, ids):
        return Source(self.name, self.split, store, positions, ids, self.classes)

    def _image_array(self):
        assert self.image_shape
        return self._store.array("image")

    def _checked(self, rows):
        rows = np.asarray(rows)
        if rows.dtype == bool and rows.shape == (self.size,):
            return np.flatnonzero(rows)
        if rows.size == 0:
            return np.zeros(0, np.int64)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= self.size:
            raise ValueError(
                f"Source: expected `rows` to be integers [k] in [0, {self.size}) or bools [{self.size}]. "
                f"Received: rows={rows}."
            )
        return rows.astype(np.int64)


def load(
    name: str = "digits",
    split: Any = "train",
    size: int | None = None,
    channels: int | None = None,
    data_dir: Any = None,
    in_memory: bool | None = None,
    image: str | None = None,
    extra: Sequence[str] = (),
) -> Source:
    """Finds a dataset by name.

    Args:
        name: `digits` (scikit-learn's 8x8 digits: 1,297 to train, 500 to test), `folder:/path/to/images` (see
            `zoo.data.folders.listing`), `arrays:/path/to/export` (see `zoo.data.arrays`), or a TFDS name such as
            `cifar10` or `imagenet_v2/topimages`. The zoo adds `scenes` and `openclipart` to those of TFDS. Backends
            other than TensorFlow read the export of a TFDS dataset or folder; see `zoo.data.arrays.place`.
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

    Raises:
        ValueError: unknown name, split or feature, images of several shapes without `size`, an image that cannot be
            read.
        FileNotFoundError: a missing export.
        RuntimeError: a TFDS dataset that is not prepared and could not be.
    """
    valid = size is None or checks.is_integer(size)
    checks.require(valid, "load", "`size` to be a positive integer or None", size=size)
    checks.require(channels in (None, 1, 3), "load", "`channels` to be 1, 3 or None", channels=channels)
    checks.require(isinstance(name, str) and name != "", "load", "`name` to be the name of a dataset", name=name)
    extra = _checked_extra(name, image, extra)
    if name == "digits" and (size is None or _on_tensorflow()):
        return _digits(split, size, channels or 1, in_memory)
    if name.startswith(_ARRAYS) or not _on_tensorflow():
        return _exported(name, split, size, channels, data_dir, image, extra)
    from zoo.data import readers

    if name.startswith("folder:"):
        source = Source(name, str(split), *readers.folder(name, split, size, channels or 3))
    else:
        source = Source(name, str(split), *readers.dataset(name, split, size, channels, data_dir, image, extra))
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
    rows = np.arange(count)
    return Source(name, "all", _in_memory(named, labels), rows, rows, classes)


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


def _exported(name, split, size, channels, data_dir, image, extra):
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
            given = "".join(f" --{key}={value}" for key, value in flags.items() if value is not None)
            raise FileNotFoundError(
                f"load: expected the arrays of {name} in {archive}, as {keras.config.backend()} reads no TFDS data. "
                f"Received: no such file; make it where TensorFlow is installed: zoo-data export {name}{given}"
            )
        wanted = settings | {"name": name}
        export = arrays.Export(found[0])
    keys = arrays.check(export, wanted, extra)
    rows = splits.rows(split, export.counts, name)
    names, positions = splits.within(rows, export.counts)  # other splits are not read
    store = _in_memory(export.arrays(names, keys), export.labels(names))
    return Source(name, str(split), store, positions, rows, export.meta["classes"])


def _digits(split, size, channels, in_memory):
    checks.require(in_memory is not False, "load", "`in_memory` to be True or None for digits", in_memory=in_memory)
    from sklearn import datasets

    raw = datasets.load_digits()
    ids = splits.rows(split, _DIGITS, "digits")
    pixels = np.rint(raw.images[ids] * (255 / 16)).astype(np.uint8)[..., None]  # [n, 8, 8, 1]
    labels = raw.target[ids].astype(np.int64)
    if _on_tensorflow():
        from zoo.data import readers

        store = readers.fitted(pixels, labels, channels, size)
    else:
        store = numpy_stores.Arrays({"image": np.repeat(pixels, channels, axis=-1)}, labels)
    return Source("digits", str(split), store, np.arange(len(ids)), ids, [str(digit) for digit in raw.target_names])
