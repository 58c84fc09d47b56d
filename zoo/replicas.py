"""What an objective may know of the other replicas: how many there are, which one this is, and everyone's rows."""

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
        """Returns everyone's rows in the order of the replicas, `[B, ...] -> [N, ...]`, N = R * B.

        Gradients flow through.
        """

    def sum(self, value: Any) -> Any:
        """Returns the sum of `value`, a tensor or a nest of tensors, over the replicas; gradients flow through."""


class Alone:
    """A single replica."""

    count: int = 1
    index: Any = 0

    def gather(self, rows: Any) -> Any:
        """Returns the rows."""
        return rows

    def sum(self, value: Any) -> Any:
        """Returns the value."""
        return value
