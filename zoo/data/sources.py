"""Images by name: `load` finds them, a `Source` gives them as arrays, one pass, or a training stream."""

import functools

import keras
import numpy as np

from zoo.data import arrays, splits

# Sources whose decoded images take at most this many bytes are kept in memory.
IN_MEMORY_BYTES = 2 * 1024**3
_DIGITS = {"train": 1297, "test": 500}
_ARRAYS = "arrays:"


class Source:
    """Examples, in a fixed order.

    Args:
        name: as given to `load`.
        split: as given to `load`.
        store: one of `zoo.data.stores`.
        positions: np.int64 `[n]`, where in the store the examples are.
        ids: np.int64 `[n]`, positions within the whole dataset; subsets keep them.
        classes: names of the classes, or None.
        modalities: of what the channels are made, name -> how many, in order; None if they are one image.
    """

    def __init__(self, name, split, store, positions, ids, classes, modalities=None):
        self.name = name
        self.split = split
        self.classes = list(classes) if classes is not None else None
        self.modalities = dict(modalities) if modalities is not None else None
        self.ids = np.asarray(ids, np.int64)
        self._store = store
        self._positions = np.asarray(positions, np.int64)

    def __repr__(self):
        kept = "in memory" if self.in_memory else "streamed"
        return f"Source({self.name!r}, {self.split!r}, {self.size} images {self.image_shape}, {kept})"

    @property
    def size(self):
        """Number of examples."""
        return len(self._positions)

    @property
    def image_shape(self):
        """(H, W, C) of every image."""
        return self._store.image_shape

    @property
    def in_memory(self):
        """Whether the decoded images are kept in memory."""
        return self._store.in_memory

    @functools.cached_property
    def labels(self):
        """np.int64 `[n]`, -1 where unknown; None if no example has one. Takes a pass over a streamed TFDS dataset."""
        labels = self._store.labels
        if labels is not None and np.any(labels[self._positions] >= 0):
            return labels[self._positions]
        return None

    @functools.cached_property
    def images(self):
        """np.uint8 `[n, H, W, C]` if in memory, else None."""
        if not self.in_memory:
            return None
        pixels = self._store.pixels
        whole = np.array_equal(self._positions, np.arange(len(pixels)))
        return pixels if whole else pixels[self._positions]

    def fetch(self, rows):
        """The images of some examples.

        Args:
            rows: integers `[k]` in [0, size).

        Returns:
            np.uint8 `[k, H, W, C]`.

        Raises:
            ValueError: an image cannot be read; names it.
        """
        rows = self._checked(rows)
        if self.in_memory:
            return self._store.pixels[self._positions[rows]]
        if not len(rows):
            return np.zeros((0, *self.image_shape), np.uint8)
        return self._collected(self._store.stream.in_parts(rows, 128))[0].numpy()

    @property
    def spec(self):
        """Shape and type of every entry of an example."""
        return {"image": (tuple(self.image_shape), "uint8"), "label": ((), "int64"), "id": ((), "int32")}

    @property
    def class_count(self):
        """Number of classes, 0 without labels."""
        if self.classes is not None:
            return len(self.classes)
        return 0 if self.labels is None else int(self.labels.max()) + 1

    def examples(self, rows):
        """All entries of some examples."""
        labels = np.full(len(rows), -1) if self.labels is None else self.labels[rows]
        return {"image": self.fetch(rows), "label": labels.astype("int32"), "id": self.ids[rows].astype("int32")}

    def subset(self, rows):
        """The examples of these rows, integers `[k]` or bools `[n]`, as a source; nothing is copied."""
        rows = self._checked(rows)
        return self._with(self._store, self._positions[rows], self.ids[rows])

    def batches(self, batch_size, seed, start=0, steps=None, shard=(0, 1)):
        """The training stream: a fresh order every epoch, and only whole batches.

        Step s lies in epoch `s // (size // batch_size)`. Batches depend on nothing but the arguments, so a run that
        starts at step `start` sees what it would have seen had it never stopped.

        Args:
            batch_size: of the global batch.
            seed: of the order, an integer in [0, 2**64).
            start: the first step.
            steps: how many; without end if None.
            shard: (i, k): only the i-th of k equal contiguous parts of every global batch.

        Returns:
            tf.data.Dataset, or an iterator where TensorFlow is not the engine, of
            `{"image": uint8 [B, H, W, C], "label": int64 [B] (-1 if none), "id": int32 [B]}` with
            B = batch_size / k.

        Raises:
            ValueError: a batch larger than the source or not divisible by k; any argument out of range.
        """
        index, shards = (int(part) for part in shard)
        checks = (
            (0 < batch_size <= self.size, f"a batch of 1 to {self.size} (all of {self.name} {self.split})"),
            (0 <= index < shards, f"shard=(i, k) with 0 <= i < k, not {shard}"),
            (shards > 0 and batch_size % max(shards, 1) == 0, f"a batch divisible by the {shards} shards"),
            (start >= 0 and (steps is None or steps >= 0), f"start and steps from 0, not {start} and {steps}"),
            (0 <= seed < 2**64, f"a seed in [0, 2**64), not {seed}"),
        )
        for right, expected in checks:
            if not right:
                raise ValueError(f"batches: expected {expected}. Received: batch_size={batch_size}.")
        rows = self._store.stream.shuffled(self.size, int(batch_size), int(seed), int(start), steps, (index, shards))
        return self._store.stream.batches(rows, self._store, self._positions, self.ids)

    def in_order(self, batch_size):
        """One pass in order, as batches like those of `batches`; the last may be shorter."""
        if batch_size <= 0:
            raise ValueError(f"in_order: expected a positive batch size. Received: batch_size={batch_size}.")
        stream = self._store.stream
        return stream.batches(stream.in_order(self.size, batch_size), self._store, self._positions, self.ids)

    def decoded(self):
        """The same source with all its images in memory.

        Raises:
            ValueError: an image cannot be read; names it.
        """
        if self.in_memory:
            return self
        from zoo.data import stores

        pixels, labels = self._collected(self._store.stream.in_order(self.size, 512))
        labels = labels.numpy()
        store = stores.Memory(pixels, labels if np.any(labels >= 0) else None)
        return self._with(store, np.arange(self.size), self.ids)

    def _with(self, store, positions, ids):
        return Source(self.name, self.split, store, positions, ids, self.classes, self.modalities)

    def _checked(self, rows):
        rows = np.asarray(rows)
        if rows.dtype == bool and rows.shape == (self.size,):
            return np.flatnonzero(rows)
        if rows.size == 0:
            return np.zeros(0, np.int64)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= self.size:
            raise ValueError(
                f"Source: expected integers [k] in [0, {self.size}) or bools [{self.size}]. Received: rows={rows}."
            )
        return rows.astype(np.int64)

    def _collected(self, parts):
        """The images and labels of a dataset of rows, as tensors on the host."""
        return self._store.stream.collected(parts, self._store, self._positions, self.ids)


def load(name="digits", split="train", size=None, channels=None, data_dir=None, in_memory=None, modalities=None):
    """Finds images.

    Args:
        name: `digits` (scikit-learn's 8x8 digits: 1,297 to train, 500 to test), `folder:/path/to/images` (see
            `zoo.data.folders.listing`), `arrays:/path/to/export` (see `zoo.data.arrays`), or a TFDS name such as
            `cifar10` or `imagenet_v2/topimages`; among these are the zoo's own, `scenes` and `openclipart`. Where
            TensorFlow is not the engine, the export of a name is looked for, see `arrays.place`.
        split: TFDS split string: `train`, `train[:10%]`, `train[100:200]`, `train+test`, `all`.
        size: side of the square that images are fitted to (centre crop, antialiased); None keeps them as they are.
        channels: 1 or 3; by default what a dataset has, and 3 for folders.
        data_dir: of TFDS; `$TFDS_DATA_DIR` or `~/tensorflow_datasets` by default.
        in_memory: whether to decode all at once; by default if that takes at most 2 GiB.
        modalities: names of a TFDS dataset's uint8 image features, such as `('image', 'depth', 'normals')` of `scenes`:
            the source's images are these, one after the other along the channels, and its `modalities` says how many
            each has. All are fitted alike, and bilinearly: numbers of segments blend where `size` is not their own.
            By default the one image that an example has.

    Raises:
        ValueError: unknown name, split or modality, images of several shapes without `size`, an image that cannot be
            read.
        FileNotFoundError: an export that is not there.
        RuntimeError: a TFDS dataset that is not prepared and could not be.
    """
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ValueError(f"load: expected a positive integer, or None. Received: size={size!r}.")
    if channels not in (None, 1, 3):
        raise ValueError(f"load: expected 1, 3 or None. Received: channels={channels!r}.")
    if not isinstance(name, str) or not name:
        raise ValueError(f"load: expected the name of a dataset. Received: name={name!r}.")
    if modalities is not None:
        _check_modalities(name, channels, modalities)
    if name == "digits" and (size is None or _on_tensorflow()):
        return _digits(split, size, channels or 1, in_memory)
    if name.startswith(_ARRAYS) or not _on_tensorflow():
        return _exported(name, split, size, channels, data_dir, modalities)
    from zoo.data import readers

    if name.startswith("folder:"):
        source = Source(name, str(split), *readers.folder(name, split, size, channels or 3))
    else:
        source = Source(name, str(split), *readers.dataset(name, split, size, channels, data_dir, modalities))
    if in_memory is None:
        in_memory = source.size * int(np.prod(source.image_shape)) <= IN_MEMORY_BYTES
    return source.decoded() if in_memory else source


def _on_tensorflow():
    return keras.config.backend() == "tensorflow"


def counts(name, data_dir=None):
    """Split name -> number of examples, of any data that `load` finds; arguments as there."""
    if name == "digits":
        return dict(_DIGITS)
    if name.startswith(_ARRAYS):
        return dict(arrays.Export(name.removeprefix(_ARRAYS)).counts)
    from zoo.data import readers

    return readers.counts(name, data_dir)


def _exported(name, split, size, channels, data_dir, modalities):
    """Data as arrays: by the export's path, or by what it was made of."""
    wanted = {"size": size, "channels": channels, "modalities": modalities}
    if name.startswith(_ARRAYS):
        wanted = {key: value for key, value in wanted.items() if value is not None}
        export = arrays.Export(name.removeprefix(_ARRAYS))
    else:
        archive = arrays.place(name, size, channels, modalities, data_dir)
        found = [path for path in (archive, archive.with_suffix("")) if path.exists()]
        if not found:
            flags = {"size": size, "channels": channels, "modalities": modalities and ",".join(modalities)}
            flags = "".join(f" --{key}={value}" for key, value in flags.items() if value is not None)
            raise FileNotFoundError(
                f"load: expected the arrays of {name} in {archive}, as {keras.config.backend()} reads no TFDS data. "
                f"Received: no such file; make it where TensorFlow is installed: zoo-data export {name}{flags}"
            )
        export, wanted["name"] = arrays.Export(found[0]), name
    arrays.check(export, wanted)
    rows = splits.rows(split, export.counts, name)
    names, positions = splits.within(rows, export.counts)  # others are not read
    store = arrays.Arrays(export.pixels(names), export.labels(names))
    if _on_tensorflow():
        from zoo.data import stores

        store = stores.Memory(store.pixels, store.labels)
    return Source(name, str(split), store, positions, rows, export.meta["classes"], export.meta["modalities"])


def _check_modalities(name, channels, modalities):
    if isinstance(modalities, str) or not isinstance(modalities, list | tuple) or not modalities:
        raise ValueError(
            "load: expected the names of a dataset's image features, such as ('image', 'depth'), or None. "
            f"Received: modalities={modalities!r}."
        )
    if channels is not None:
        raise ValueError(f"load: expected modalities with the channels they have. Received: channels={channels!r}.")
    if name == "digits" or name.startswith("folder:"):
        raise ValueError(f"load: expected a TFDS dataset, as {name!r} has one image. Received: {modalities=}.")


def _digits(split, size, channels, in_memory):
    if in_memory is False:
        raise ValueError("load: expected digits to be held in memory, having no files. Received: in_memory=False.")
    from sklearn import datasets

    raw = datasets.load_digits()
    ids = splits.rows(split, _DIGITS, "digits")
    pixels = np.rint(raw.images[ids] * (255 / 16)).astype(np.uint8)[..., None]  # [n, 8, 8, 1]
    labels = raw.target[ids].astype(np.int64)
    if _on_tensorflow():
        from zoo.data import readers

        store = readers.fitted(pixels, labels, channels, size)
    else:
        store = arrays.Arrays(np.repeat(pixels, channels, axis=-1), labels)
    return Source("digits", str(split), store, np.arange(len(ids)), ids, [str(digit) for digit in raw.target_names])
