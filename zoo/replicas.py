"""What an objective may know of the other replicas: how many, which one this is, and everyone's rows."""


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
