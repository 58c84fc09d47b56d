"""TensorFlow under the core, alone or under a `tf.distribute` strategy."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from zoo import context, replicas
from zoo.engine import plain


class StrategyReplicas:
    """The replicas of a `tf.distribute` strategy, as seen from inside `strategy.run`; see `zoo.replicas`.

    Args:
        replica_context: what `tf.distribute.get_replica_context` returns.
    """

    def __init__(self, replica_context: Any):
        self._context = replica_context
        self.count = replica_context.num_replicas_in_sync
        self.index = replica_context.replica_id_in_sync_group

    def gather(self, rows: Any) -> Any:
        """Returns everyone's rows in the order of the replicas, `[B, ...] -> [R * B, ...]`; gradients flow through."""
        # Each replica places its rows in its own slot and all add up: unlike all_gather this exists on TPUs, and its
        # gradient (again a sum) is exact.
        slot = tf.one_hot(self.index, self.count, dtype=rows.dtype)  # [R]
        slots = tf.tensordot(slot, rows, axes=0)  # [R, B, ...]
        return tf.reshape(self.sum(slots), tf.concat([[-1], tf.shape(rows)[1:]], axis=0))

    def sum(self, value: Any) -> Any:
        """Returns the sum over the replicas; gradients flow through."""
        return tf.nest.map_structure(tf.identity, self._context.all_reduce(tf.distribute.ReduceOp.SUM, value))


class TensorFlow(plain.Plain):
    """Functions become graphs, variables are changed in place; see `zoo.engine.Engine`."""

    def on_cpu(self) -> bool:
        """Returns whether there is neither a GPU nor a TPU."""
        return not tf.config.list_logical_devices("GPU") and not tf.config.list_logical_devices("TPU")

    def replicas(self) -> replicas.Replicas:
        """Returns the replicas of the strategy, or those of the context where it has only one."""
        here = tf.distribute.get_replica_context()
        several = here is not None and here.num_replicas_in_sync > 1
        return StrategyReplicas(here) if several else context.current().replicas

    def compiled(self, function: Callable, variables: Sequence | Callable[[], Sequence] = ()) -> Callable:
        """Makes a function a graph."""
        del variables
        return tf.function(function, autograph=False, reduce_retracing=True)

    def occasional(self, function: Callable) -> Callable:
        """Returns the function: to trace it would cost more than to run it."""
        return function

    def node(self, function: Callable) -> Callable:
        """Makes a pure function one call of the graphs that use it."""
        # Inlined, every use would be optimized by itself.
        call = tf.function(function, autograph=False, experimental_attributes={"_noinline": True})

        @functools.wraps(function)
        def wrapped(*arguments):
            # Eagerly, to trace a new shape costs more than the operations.
            return function(*arguments) if tf.executing_eagerly() else call(*arguments)

        return wrapped

    def value(self, variable: Any) -> Any:
        """Returns the present value of a variable; a copy only if rows were scattered into it."""
        # `ops.convert_to_tensor` returns the variable itself, which would be read later, when it may have changed.
        return tf.convert_to_tensor(variable.value)

    def rows(self, variable: Any, indices: Any) -> Any:
        """Returns some rows of a variable."""
        # `ops.take` reads the whole variable first, and once a variable has been scattered into, TensorFlow copies it
        # on every such read.
        return tf.raw_ops.ResourceGather(resource=variable.value.handle, indices=indices, dtype=variable.dtype)

    def assign_rows(self, variable: Any, indices: Any, values: Any) -> None:
        """Replaces some rows of a variable."""
        # `ops.scatter_update` writes a new variable, 170 times as slow for a large bank.
        values = tf.cast(values, variable.dtype)
        tf.raw_ops.ResourceScatterUpdate(resource=variable.value.handle, indices=indices, updates=values)

    def assign_block(self, variable: Any, start: Any, values: Any) -> None:
        """Replaces consecutive rows of a variable."""
        values = tf.cast(values, variable.dtype)
        count = values.shape[0]
        if context.current().xla or tf.distribute.get_strategy().num_replicas_in_sync > 1:
            tf.raw_ops.ResourceStridedSliceAssign(
                ref=variable.value.handle, begin=[start], end=[start + count], strides=[1], value=values
            )
            return
        # TensorFlow's own updates of variables, scatters and the one above, make it copy the whole at every later read.
        # So the rows are replaced in the buffer itself, which the variable is given back. Not with several replicas: on
        # one machine their variables may begin as one buffer.
        rows = start + tf.range(count, dtype=start.dtype)
        variable.assign(tf.raw_ops.InplaceUpdate(x=self.value(variable), i=rows, v=values))

    def fused_batch_norm(self, x: Any, gamma: Any, beta: Any, moments: tuple | None, epsilon: float) -> tuple | None:
        """Normalizes by TensorFlow's kernel; a ResNet-18 training step on a CPU is 1.2 times as fast."""
        if gamma.dtype != "float32":
            return None  # the kernel knows no float64
        rows = x if len(x.shape) == 4 else tf.reshape(x, (-1, 1, 1, x.shape[-1]))  # [B, H, W, C]
        known = [tf.cast(tf.convert_to_tensor(value), tf.float32) for value in moments or ((), ())]
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=rows,
            scale=gamma,
            offset=beta,
            mean=known[0],
            variance=known[1],
            epsilon=epsilon,
            is_training=moments is None,
        )
        return (y if len(x.shape) == 4 else tf.reshape(y, tf.shape(x))), mean, variance
