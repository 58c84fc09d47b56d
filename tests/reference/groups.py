"""Several replicas in one process, for objectives."""

from keras import ops

from zoo import replicas


class Member(replicas.Alone):
    """One of the replicas: it is given what the others hold, in the order in which an objective asks for it.

    Args:
        index: number of the replica.
        count: R.
        gathered: arrays that `gather` returns, in the order of the calls.
    """

    def __init__(self, index, count, gathered=()):
        self.index, self.count, self._gathered = index, count, list(gathered)

    def gather(self, rows):
        whole = self._gathered.pop(0)
        rows_of_all = ops.shape(rows)[0] * self.count
        assert ops.shape(whole)[0] == rows_of_all
        return ops.convert_to_tensor(whole)
