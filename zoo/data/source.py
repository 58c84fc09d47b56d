"""A `Source` returns examples as arrays, in one pass in order, or as a training stream."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo import checks, seeds
from zoo.data import stores


class Source:
    """Examples in a fixed order.

    An example has an "id", a "label" (-1 if none), usually an "image", and whatever else the source declares: depth
    maps, masks, boxes, vectors. `zoo.data.sources.load` and `from_arrays` make sources.

    Args:
        name: name of the data, as given to `zoo.data.sources.load`.
        split: split string, as given to `load`.
        store: where the examples are.
        positions: np.int64 `[n]`, positions of the examples in the store.
        ids: np.int64 `[n]`, positions of the examples within the whole dataset. Subsets keep the ids.
        classes: names of the classes, or None.
        contents: function that returns a digest of the examples, or of the names and sizes of their files; None if
            there is none. Only a run asks for it.
        skipped: names of files that were left out because they cannot be read.
        report: function that gets the labels, np.int64 `[n]`, when they are first known, to warn of what they lack.
    """

    def __init__(
        self,
        name: str,
        split: str,
        store: stores.Store,
        positions: np.ndarray,
        ids: np.ndarray,
        classes: Sequence[str] | None,
        contents: Callable[[], str] | None = None,
        skipped: Sequence[str] = (),
        report: Callable[[np.ndarray], None] | None = None,
    ):
        self.name = name
        self.split = split
        self._contents, self._report = contents, report
        self.classes = list(classes) if classes is not None else None
        self.skipped = tuple(skipped)
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
        self._require_image()
        height, width, channels = self.spec["image"][0]
        return height, width, channels

    @property
    def in_memory(self) -> bool:
        """Whether the decoded examples are kept in memory."""
        return self._store.in_memory

    @functools.cached_property
    def labels(self) -> np.ndarray | None:
        """np.int64 `[n]`, -1 where unknown; None if no example has one. Takes a pass over a streamed TFDS dataset."""
        labels = self._store.labels
        if labels is None or not np.any(labels[self._positions] >= 0):
            return None
        if self._report is not None:
            self._report(labels[self._positions])
        return labels[self._positions]

    @property
    def _knows_labels(self) -> bool:
        # Those of a streamed TFDS dataset would take a pass over it.
        return "labels" in vars(self) or self.in_memory or bool(self._contents)

    @property
    def known_labels(self) -> np.ndarray | None:
        """np.int64 `[n]`, -1 for no label; None if they can only be read together with the examples."""
        if not self._knows_labels:
            return None
        return np.full(self.size, -1, np.int64) if self.labels is None else self.labels

    @property
    def class_count(self) -> int:
        """Number of classes: that of their names, or the largest label + 1 if they have no names; 0 if unlabeled."""
        if self.classes is not None:
            return len(self.classes)
        return 0 if self.labels is None else int(self.labels.max()) + 1

    def fingerprint(self) -> dict[str, Any]:
        """Returns what identifies the data of a run: name, split, number of examples, shapes, classes, contents."""
        found: dict[str, Any] = {
            "name": self.name,
            "split": self.split,
            "examples": self.size,
            "ids": hashlib.sha256(self.ids.tobytes()).hexdigest(),
            "shapes": {key: [list(shape), dtype] for key, (shape, dtype) in sorted(self.spec.items())},
            "contents": self._contents() if self._contents else "",
        }
        if self._knows_labels:
            names = self.classes or [str(number) for number in range(self.class_count)]
            labels = np.zeros(0, int) if self.labels is None else self.labels[self.labels >= 0]
            counts = np.bincount(labels, minlength=len(names))
            found["classes"] = {name: int(count) for name, count in zip(names, counts, strict=True)}
        return found

    @functools.cached_property
    def images(self) -> np.ndarray | None:
        """np.uint8 `[n, H, W, C]` if in memory, else None."""
        if not self.in_memory:
            return None
        self._require_image()
        pixels = self._store.array("image")
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
        self._require_image()
        if self.in_memory:
            return self._store.array("image")[positions]
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

    def sample(self, count: int) -> "Source":
        """Returns at most `count` examples, drawn at random, always the same, in their order."""
        if count >= self.size:
            return self
        return self.subset(np.sort(seeds.shuffled(self.size, 0)[:count]))

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
        made = self._with(store, np.arange(self.size), self.ids)
        if self._report is not None and made.labels is not None:
            self._report(made.labels)
        return made

    def _with(self, store, positions, ids):
        return Source(self.name, self.split, store, positions, ids, self.classes, self._contents, self.skipped)

    def _require_image(self):
        checks.require("image" in self.spec, "Source", f"{self.name} to have a key 'image'", keys=list(self.spec))

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
