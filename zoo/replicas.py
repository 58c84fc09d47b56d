"""The interface to the replicas that train together: their number, sums over them, and the rows of all."""

from typing import Any, Protocol


class Replicas(Protocol):
    """The replicas that train together; every engine implements this interface.

    Attributes:
        count: number of replicas, R.
        index: index of this replica in [0, R), an int or an integer tensor.
    """

    count: int
    index: Any

    def gather(self, rows: Any) -> Any:
        """Returns the rows of all replicas, in their order, `[B, ...] -> [N, ...]`, N = R * B.

        Gradients flow through.
        """

    def sum(self, value: Any) -> Any:
        """Returns the sum of `value`, a tensor or a nest of tensors, over the replicas; gradients flow through."""


class Alone:
    """A single replica."""

    count: int = 1
    index: Any = 0

    def gather(self, rows: Any) -> Any:
        """Returns `rows` unchanged."""
        return rows

    def sum(self, value: Any) -> Any:
        """Returns `value` unchanged."""
        return value
