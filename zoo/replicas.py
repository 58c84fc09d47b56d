"""Replicas as objectives and layers see them: their number, the index of this one, and the rows and sums of all."""

from typing import Any, Protocol


class Replicas(Protocol):
    """The replicas that train together; every engine implements this interface.

    Attributes:
        count: number of replicas, R.
        index: number of this replica in [0, R), an int or an integer tensor.
    """

    count: int
    index: Any

    def gather(self, rows: Any) -> Any:
        """Returns the rows of all replicas in their order, `[B, ...] -> [R * B, ...]`; gradients flow through."""

    def sum(self, value: Any) -> Any:
        """Returns the sum of `value`, a tensor or a nest of tensors, over the replicas; gradients flow through."""


class Alone:
    """The only replica."""

    count: int = 1
    index: Any = 0

    def gather(self, rows: Any) -> Any:
        """Returns the rows."""
        return rows

    def sum(self, value: Any) -> Any:
        """Returns the value."""
        return value
