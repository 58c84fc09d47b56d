"""Any engine of Keras, by Keras' own operations: enough to load encoders and to compute features."""

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops, tree

from zoo import context, replicas


class Plain:
    """Compiles nothing and uses no special kernels, see `zoo.engine.Engine`."""

    def on_cpu(self) -> bool:
        """Returns True, because Keras does not tell which devices an engine has."""
        return True

    def replicas(self) -> replicas.Replicas:
        """Returns the replicas of the context."""
        return context.current().replicas

    def compiled(self, function: Callable, variables: Sequence = ()) -> Callable:
        """Returns the function."""
        del variables
        return function

    def occasional(self, function: Callable) -> Callable:
        """Returns the function."""
        return self.compiled(function)

    def node(self, function: Callable) -> Callable:
        """Returns the function."""
        return function

    def barrier(self, tensors: Any) -> Any:
        """Returns the tensors from a loop of two rounds that changes nothing, but across which nothing is fused."""

        def keep(i, parts):
            return [ops.where(i < 0, ops.zeros_like(part), part) for part in parts]

        parts = tree.flatten(tensors)
        return tree.pack_sequence_as(tensors, ops.fori_loop(0, 2, keep, parts)) if parts else tensors

    def value(self, variable: Any) -> Any:
        """Returns the present value of a variable."""
        return variable.value

    def rows(self, variable: Any, indices: Any) -> Any:
        """Returns some rows of a variable."""
        return ops.take(self.value(variable), indices, axis=0)

    def assign_rows(self, variable: Any, indices: Any, values: Any) -> None:
        """Replaces some rows of a variable."""
        values = ops.cast(values, variable.dtype)
        variable.assign(ops.scatter_update(self.value(variable), indices[:, None], values))

    def assign_block(self, variable: Any, start: Any, values: Any) -> None:
        """Replaces consecutive rows of a variable."""
        start = (start, *[0] * (len(values.shape) - 1))
        variable.assign(ops.slice_update(self.value(variable), start, ops.cast(values, variable.dtype)))

    def fused_batch_norm(self, x: Any, gamma: Any, beta: Any, moments: tuple | None, epsilon: float) -> tuple | None:
        """Returns None: there is no kernel."""
        return None
