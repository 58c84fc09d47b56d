"""The engine under the loop: TensorFlow with its strategies, or JAX; whichever runs Keras."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import keras

from zoo.methods import method as methods
from zoo.train import task as tasks


class Engine(Protocol):
    """What the loop needs of an engine.

    Attributes:
        count: number of replicas.
        chief: whether this process is the one that writes.
    """

    count: int
    chief: bool

    def scope(self) -> AbstractContextManager:
        """Returns the context in which variables are made."""

    def set_seed(self, seed: int) -> None:
        """Seeds the initial weights."""

    def task(
        self, method: methods.Method, views: Any, optimizer: Any, seed: int, steps: int, steps_per_epoch: int
    ) -> tasks.Task:
        """Returns a task of the engine's own kind; arguments as for `task.Task`."""

    def check(self, jit_compile: bool) -> None:
        """Raises ValueError if the engine cannot train in this way."""

    def check_agreement(self, start: int, variables: Sequence) -> None:
        """Raises ValueError if workers start from different steps or weights."""

    def trainer(
        self, task: Any, data: Any, batch_size: int, seed: int, start: int, steps: int, jit_compile: bool
    ) -> Callable[[int, int], Mapping[str, float]]:
        """Returns a function `(first step, count) -> sums of the logs` that trains so many steps.

        Args:
            task: of this engine.
            data: a `zoo.data.sources.Source`.
            batch_size: images of the global batch, N.
            seed: of the order of the data.
            start: the first step that will be trained.
            steps: of the whole run.
            jit_compile: whether XLA compiles the step.
        """

    def record(self) -> dict[str, Any]:
        """Returns what the record of a run says of the engine: versions, hardware, replicas."""


def engine(strategy: Any = None) -> Engine:
    """Returns the engine that trains.

    Args:
        strategy: what `strategies.strategy` returns; one device by default.
    """
    backend = keras.config.backend()
    if backend == "tensorflow":
        from zoo.train import on_tensorflow

        return on_tensorflow.Engine(strategy)
    if backend == "jax":
        from zoo.train import on_jax

        return on_jax.Engine(strategy)
    raise ValueError(f"run: expected Keras to run on TensorFlow or JAX. Received: {backend!r}; set KERAS_BACKEND.")


def worker_lost() -> tuple[type[Exception], ...]:
    """Returns the exceptions that mean that another worker died; their `message` says why."""
    if keras.config.backend() != "tensorflow":
        return ()
    import tensorflow as tf

    return tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError
