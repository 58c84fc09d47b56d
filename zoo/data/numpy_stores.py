"""Examples as NumPy arrays: the store that works without TensorFlow."""

import numpy as np

from zoo.data import numpy_stream, stores


class Arrays:
    """Examples in memory, or in memory-mapped files; a `zoo.data.stores.Store`.

    Args:
        arrays: key -> np array `[n, ...]`.
        labels: np.int64 `[n]`, or None.
    """

    fallible = False
    in_memory = True
    stream = numpy_stream

    def __init__(self, arrays: dict[str, np.ndarray], labels: np.ndarray | None):
        count = len(next(iter(arrays.values())))
        self.labels = labels
        self._arrays = dict(arrays)
        self._arrays["label"] = np.full(count, -1, np.int32) if labels is None else labels.astype(np.int32)
        self.spec: stores.Spec = {key: (array.shape[1:], str(array.dtype)) for key, array in self._arrays.items()}

    def array(self, key: str) -> np.ndarray:
        """Returns the values of one key, `[n, ...]`, read-only."""
        array = self._arrays[key].view()
        array.flags.writeable = False
        return array

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the examples at `positions`, int64 `[B]`."""
        return {key: array[positions] for key, array in self._arrays.items()}

    examples = batch

    def explain(self, positions: np.ndarray) -> None:
        """Does nothing: reading an array does not fail."""
