"""A training step on one replica of TensorFlow: views, loss, gradients, update."""

import contextlib
import functools
import threading
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from zoo import context, engine
from zoo.train import optimizers, task


class Step(task.Task):
    """Updates a method from a replica's part of a global batch.

    Arguments are those of `task.Task`; the optimizer must come from `without_reduction`.

    Attributes:
        compiles_views: whether XLA compiles the views, separately from the rest of the step.
    """

    compiles_views = False

    def views_of_step(self, examples: Mapping[str, Any], number: Any) -> tuple:
        """Returns the result of `views_of`, compiled by XLA if `compiles_views`."""
        if not self.compiles_views:
            return self.views_of(examples, number)
        pictures = {name: values for name, values in examples.items() if name == "id" or task.is_map(values)}
        with context.using(image_by_image=engine.current().on_cpu()):
            return self._compiled_views(pictures, number)

    @functools.cached_property
    def _compiled_views(self):
        return tf.function(self.views_of, jit_compile=True, autograph=False)

    def compile_views(self, spec: Mapping[str, tuple], batch: int) -> None:
        """Compiles the views in a thread, while the rest of the step is traced; XLA takes seconds.

        Args:
            spec: spec of the examples, see `zoo.data.sources.Source.spec`.
            batch: number of images per step on this replica.
        """
        self.compiles_views = True
        _ = self._compiled_views  # made here, because two threads might each make one
        examples = {name: tf.zeros((batch, *shape), dtype) for name, (shape, dtype) in spec.items()}
        # Called inside a graph, as in the step: what is compiled for a standalone call would be compiled once more.
        call = tf.function(self.views_of_step, autograph=False)

        def run():
            # The step will raise the same error, where somebody catches it.
            with contextlib.suppress(Exception):
                call(examples, tf.constant(0, tf.int64))

        # Not a daemon: the interpreter must not end while XLA compiles.
        threading.Thread(target=run).start()

    def gradients(self, examples: Mapping[str, Any], number: Any) -> tuple[dict[str, Any], list, Any]:
        """Returns the results of a step without applying them.

        Returns:
            Scalars to log; the gradients of the global mean loss, summed over the replicas; the tensors for `remember`.
        """
        step = self.step(number, engine.current().replicas())
        batch = self.batch(examples, self.views_of_step(examples, number))
        variables = self.method.trainable_variables
        with tf.GradientTape() as tape:
            objective, logs, seen = self.objective(batch, step)
        gradients = tape.gradient(objective, [variable.value for variable in variables])
        lost = [v.path for v, gradient in zip(variables, gradients, strict=True) if gradient is None]
        if lost:
            raise ValueError(
                f"{type(self.method).__name__}: expected a gradient for every trainable variable. Received: none for "
                f"{lost}."
            )
        # Sum before the optimizer clips gradients or checks that they are finite; Keras would sum afterwards.
        return logs, step.replicas.sum(gradients), seen

    def __call__(self, examples: Mapping[str, Any], number: Any) -> dict[str, Any]:
        """Updates the method and returns this replica's scalars to log."""
        logs, gradients, seen = self.gradients(examples, number)
        kernels = task.kernels(self.method.trainable_variables)
        before = [tf.convert_to_tensor(variable.value) for variable in kernels]
        self.optimizer.apply(gradients, self.method.trainable_variables)
        logs = {**logs, "relative_update": task.relative_update(before, [variable.value for variable in kernels])}
        for clock in optimizers.clocks(self.optimizer):
            clock.assign(tf.cast(number + 1, clock.dtype))
        # Queues and banks are written in place, which must wait for everything that reads them.
        with tf.control_dependencies([*gradients, *logs.values()]):
            self.method.remember(seen, self.step(number, engine.current().replicas()))
        return logs


def without_reduction(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Stops a Keras optimizer from summing gradients over the replicas, and returns it.

    Keras clips and checks the gradients of every replica before it sums them; both need the sum. `Step` sums first.
    """
    for part in optimizers.parts(optimizer):
        if not hasattr(part, "_all_reduce_sum_gradients"):
            raise TypeError(f"without_reduction: expected an optimizer of Keras on TensorFlow. Received: {type(part)}.")
        part._all_reduce_sum_gradients = list
    return optimizer
