"""tf.distribute's side of `zoo.replicas`: the group of the replicas that train together."""

import tensorflow as tf


class TFReplicas:
    """The replicas of the current strategy, as seen from inside `strategy.run`."""

    def __init__(self):
        self._context = tf.distribute.get_replica_context()
        self.count = self._context.num_replicas_in_sync
        self.index = self._context.replica_id_in_sync_group if self.count > 1 else 0

    def gather(self, rows):
        """Everyone's rows in the order of the replicas, `[B, ...] -> [R * B, ...]`; gradients flow through."""
        if self.count == 1:
            return rows
        # Each replica places its rows in its own slot and all add up: unlike all_gather this exists on TPUs, and its
        # gradient (again a sum) is exact.
        slot = tf.one_hot(self.index, self.count, dtype=rows.dtype)  # [R]
        slots = tf.tensordot(slot, rows, axes=0)  # [R, B, ...]
        everyone = self.sum(slots)
        return tf.reshape(everyone, tf.concat([[-1], tf.shape(rows)[1:]], axis=0))

    def sum(self, value):
        """The sum over the replicas; gradients flow through."""
        if self.count == 1:
            return value
        return tf.nest.map_structure(tf.identity, self._context.all_reduce(tf.distribute.ReduceOp.SUM, value))
