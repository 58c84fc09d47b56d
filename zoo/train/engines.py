"""The engine that trains: TensorFlow with its strategies, or JAX, as Keras is configured."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import keras
import numpy as np

from zoo.methods import method as methods
from zoo.train import task as tasks


class Engine(Protocol):
    """The interface between the training loop and an engine.

    Attributes:
        count: number of replicas.
        chief: whether this process writes the records and checkpoints of the run.
        workers: number of processes that train together.
        worker: number of this process in [0, workers).
    """

    count: int
    chief: bool
    workers: int
    worker: int

    def scope(self) -> AbstractContextManager:
        """Returns the context in which variables must be made."""

    def set_seed(self, seed: int) -> None:
        """Sets the seed of the initial weights."""

    def task(
        self, method: methods.Method, views: Any, optimizer: Any, seed: int, steps: int, steps_per_epoch: int
    ) -> tasks.Task:
        """Returns the engine's own `task.Task`, with the same arguments."""

    def check(self, jit_compile: bool) -> None:
        """Raises ValueError if the engine cannot train with this setting."""

    def check_agreement(self, start: int, variables: Sequence) -> None:
        """Raises ValueError if workers start from different steps or weights."""

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Returns the rows of all workers in their order, on the host, `[n, D] -> [workers * n, D]`."""

    def trainer(
        self, task: Any, data: Any, batch_size: int, seed: int, start: int, steps: int, jit_compile: bool
    ) -> Callable[[int, int], Mapping[str, float]]:
        """Returns a function `(first step, count) -> sums of the logs` that trains `count` steps.

        Args:
            task: what this engine's `task` returned.
            data: a `zoo.data.sources.Source`.
            batch_size: N, number of images in the global batch.
            seed: seed of the order of the data.
            start: first step to train.
            steps: number of steps of the whole run.
            jit_compile: whether XLA compiles the step.
        """

    def record(self) -> dict[str, Any]:
        """Returns the engine's part of `run.json`: versions, hardware, replicas."""


def engine(strategy: Any = None) -> Engine:
    """Returns the engine that trains.

    Args:
        strategy: a result of `strategies.strategy`; None for a single device.
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
    """Returns the exceptions that are raised when another worker dies; their `message` gives the reason."""
    if keras.config.backend() != "tensorflow":
        return ()
    import tensorflow as tf

    return tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError
