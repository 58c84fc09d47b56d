"""The interfaces of stores, which hold examples, and of streams, which read batches from a store."""

import dataclasses
from typing import Any, Protocol

import numpy as np

from zoo import checks

# Key of an example -> its shape and the name of its dtype.
Spec = dict[str, tuple[tuple[int, ...], str]]
# (i, k): the i-th of k equal contiguous parts of every global batch.
Shard = tuple[int, int]
# Decoded, three bytes each. A file of a megabyte may stand for a thousand times as many.
PIXELS = 25_000_000


@dataclasses.dataclass(frozen=True)
class Decoding:
    """Settings of the decoder of image files.

    Args:
        max_pixels: the most that an image may have.
        white: sample that becomes 255, for gray files of more than 8 bits; None for the one that a file states.
    """

    max_pixels: int = PIXELS
    white: float | None = None

    def __post_init__(self):
        checks.integers("load", max_pixels=self.max_pixels)
        valid = self.white is None or (checks.is_number(self.white) and self.white > 0)
        checks.require(valid, "load", "`white` to be None or a positive number", white=self.white)


AS_STATED = Decoding()


class Store(Protocol):
    """Examples that are addressed by their position, 0 to n - 1.

    Stores are `numpy_stores.Arrays`, which needs no TensorFlow, and `tf_stores.Memory`, `Files` and `Records`.
    """

    @property
    def spec(self) -> Spec:
        """Shape and dtype of every key of an example: "image" (if any), further keys, and "label" (int32)."""

    @property
    def labels(self) -> np.ndarray | None:
        """np.int64 `[n]`, -1 where unknown; None if the store has no labels."""

    @property
    def in_memory(self) -> bool:
        """Whether the decoded examples are kept in memory."""

    @property
    def fallible(self) -> bool:
        """Whether reading an example can fail."""

    @property
    def stream(self) -> "Stream":
        """The module that makes batches from this store."""

    def array(self, key: str) -> np.ndarray:
        """Returns the values of one key for all examples, `[n, ...]`, read-only; only if `in_memory`."""

    def batch(self, positions: Any) -> dict[str, Any]:
        """Returns the examples at `positions`, int64 `[B]`, within the stream's pipeline."""

    def examples(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the examples at `positions`, int64 `[B]`, as NumPy arrays.

        Raises:
            ValueError: an example cannot be read; the message names it.
        """

    def explain(self, positions: np.ndarray) -> None:
        """Raises a ValueError that names the first example at `positions` that cannot be read."""


class Stream(Protocol):
    """The functions of `tf_stream`, which returns `tf.data.Dataset`s, and `numpy_stream`, which returns iterators."""

    def shuffled(
        self,
        count: int,
        batch_size: int,
        seed: int,
        start: int = 0,
        steps: int | None = None,
        shard: Shard = (0, 1),
    ) -> Any:
        """Returns the rows of every training step; see `tf_stream.shuffled`."""

    def in_order(self, count: int, batch_size: int) -> Any:
        """Returns all rows once, in order; the last batch may be shorter."""

    def batches(self, rows: Any, store: Store, chosen: np.ndarray, ids: np.ndarray) -> Any:
        """Returns the batches of the given rows; see `tf_stream.batches`."""
