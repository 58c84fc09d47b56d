"""What an objective may know of the other replicas: how many, which one this is, and everyone's rows."""

import contextvars

from zoo import context


class Alone:
    """The group of a single replica; also the interface that every engine's group implements.

    Attributes:
        count: number of replicas, R.
        index: this replica's number in [0, R), an int or an integer tensor.
    """

    count = 1
    index = 0

    def gather(self, rows):
        """Everyone's rows in the order of the replicas, `[B, ...] -> [N, ...]`, N = R * B; gradients flow through."""
        return rows

    def sum(self, value):
        """The sum of `value` over the replicas; gradients flow through."""
        return value


_present = contextvars.ContextVar("replicas", default=None)


def present():
    """The group of replicas for which the present thread computes, see `within`."""
    return _present.get() or Alone()


def within(group):
    """Inside, `present` is this group: for layers, which nobody can hand it to."""
    return context.within(_present, group)
