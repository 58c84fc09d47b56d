"""Any engine that Keras runs on, by Keras' own operations: enough to load encoders and to compute with them."""

from keras import ops, tree

from zoo import context, replicas


class Plain:
    """Runs everything as it is; see `zoo.engine.Engine`."""

    def on_cpu(self) -> bool:
        """Returns whether there is no accelerator; not known here."""
        return True

    def replicas(self) -> replicas.Replicas:
        """Returns the replicas of the context."""
        return context.current().replicas

    def compiled(self, function, variables=()):
        """Returns the function."""
        del variables
        return function

    def occasional(self, function):
        """Returns the function."""
        return self.compiled(function)

    def node(self, function):
        """Returns the function."""
        return function

    def barrier(self, tensors):
        """Returns the tensors, computed in a loop of two rounds that keeps what it has: nothing is fused across it."""

        def keep(i, parts):
            return [ops.where(i < 0, ops.zeros_like(part), part) for part in parts]

        parts = tree.flatten(tensors)
        return tree.pack_sequence_as(tensors, ops.fori_loop(0, 2, keep, parts)) if parts else tensors

    def value(self, variable):
        """Returns the present value of a variable."""
        return variable.value

    def rows(self, variable, indices):
        """Returns some rows of a variable."""
        return ops.take(self.value(variable), indices, axis=0)

    def assign_rows(self, variable, indices, values):
        """Replaces some rows of a variable."""
        values = ops.cast(values, variable.dtype)
        variable.assign(ops.scatter_update(self.value(variable), indices[:, None], values))

    def assign_block(self, variable, start, values):
        """Replaces consecutive rows of a variable."""
        start = (start, *[0] * (len(values.shape) - 1))
        variable.assign(ops.slice_update(self.value(variable), start, ops.cast(values, variable.dtype)))

    def fused_batch_norm(self, x, gamma, beta, moments, epsilon):
        """Returns None: there is no kernel."""
        return None
