"""One step of training on one replica of TensorFlow: views, loss, gradients, update."""

import functools

import tensorflow as tf

from zoo import engine
from zoo.train import task
from zoo.views import view


class Step(task.Task):
    """What a replica does with its part of a global batch.

    Args are those of `task.Task`; the optimizer must not sum gradients over replicas itself, see `alone`.

    Attributes:
        compiles_views: whether XLA compiles the views, apart from the rest of the step.
    """

    compiles_views = False

    def views_of_step(self, batch, step):
        """The views that are learned from; `make_views` makes the same ones for who needs them once."""
        if not self.compiles_views:
            return self.make_views(batch, step)
        with view.one_by_one(engine.current().on_cpu()):
            return self._compiled_views({"image": batch["image"], "id": batch["id"]}, step)

    @functools.cached_property
    def _compiled_views(self):
        return tf.function(self.make_views, jit_compile=True, autograph=False)

    def gradients(self, batch, step):
        """Scalars to log, the gradients of the global mean loss, summed over the replicas, and what to remember."""
        group = engine.current().replicas()
        views = self.views_of_step(batch, step)
        variables = self.method.trainable_variables
        with tf.GradientTape() as tape:
            objective, logs, seen = self.objective(views, batch, group)
        gradients = tape.gradient(objective, [variable.value for variable in variables])
        lost = [v.path for v, g in zip(variables, gradients, strict=True) if g is None]
        if lost:
            raise ValueError(
                f"{type(self.method).__name__}: expected a gradient for every trainable variable. None: {lost}."
            )
        # Summed here, before anything clips them or checks that they are finite: Keras does that the other way round.
        return logs, group.sum(gradients), seen

    def __call__(self, batch, step):
        """One update; returns the scalars to log, of this replica."""
        logs, gradients, seen = self.gradients(batch, step)
        self.optimizer.apply(gradients, self.method.trainable_variables)
        # Not before all is computed that reads the memory: it is written in place.
        with tf.control_dependencies([*gradients, *logs.values()]):
            self.method.remember(seen, engine.current().replicas())
        return logs


def alone(optimizer):
    """Keeps a Keras optimizer from summing gradients over the replicas once more; returns it.

    Keras sums after clipping and after looking for infinities, per replica, which is wrong for both; `Step` sums first.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not hasattr(inner, "_all_reduce_sum_gradients"):
        raise TypeError(f"alone: expected a Keras optimizer of the TensorFlow backend. Received: {type(inner)}.")
    inner._all_reduce_sum_gradients = list
    return optimizer
