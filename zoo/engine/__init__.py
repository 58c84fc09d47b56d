"""The little that the core must know of its engine, TensorFlow or JAX; Keras has no name for these things.

`engine.current()` is the engine that Keras runs on. Each is one file of this folder.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras

from zoo import replicas


class Engine(Protocol):
    """What an engine can do for the core."""

    def on_cpu(self) -> bool:
        """Returns whether this machine has no accelerator that the engine can use."""

    def replicas(self) -> replicas.Replicas:
        """Returns the replicas for which the present code computes."""

    def compiled(self, function: Callable, variables: Sequence | Callable[[], Sequence] = ()) -> Callable:
        """Compiles a function of arrays, once for every set of shapes that it meets.

        Args:
            function: of arrays, to arrays. It may read variables; on TensorFlow it may also change them.
            variables: those that it reads, a sequence or a function that returns one. Their present values count.

        Returns:
            A function of the same arguments.
        """

    def occasional(self, function: Callable) -> Callable:
        """Prepares a function of arrays that runs now and then, for which tracing would cost more than it saves."""

    def node(self, function: Callable) -> Callable:
        """Makes a pure function of tensors one node of the graphs that use it, traced once for every signature.

        For functions of many small operations that graphs use often, such as random bits.
        """

    def barrier(self, tensors: Any) -> Any:
        """Returns the same tensors, nested or not, computed before anything that uses them.

        A compiler would otherwise fuse what makes them into everything that uses them, and compute it anew each time.
        """

    def value(self, variable: Any) -> Any:
        """Returns the present value of a variable as a tensor, without a copy where the engine allows it."""

    def rows(self, variable: Any, indices: Any) -> Any:
        """Returns some rows of a variable without copying or locking the others.

        Args:
            variable: `[K, D]`.
            indices: int32 `[B, ...]`.

        Returns:
            `[B, ..., D]`.
        """

    def assign_rows(self, variable: Any, indices: Any, values: Any) -> None:
        """Replaces some rows of a variable in place.

        Args:
            variable: `[K, D]`.
            indices: int32 `[N]`, all different.
            values: `[N, D]`.
        """

    def assign_block(self, variable: Any, start: Any, values: Any) -> None:
        """Replaces consecutive rows of a variable in place, for variables that are otherwise read as a whole.

        A tensor that `value` returned before may show the new rows: assign after its last use.

        Args:
            variable: `[K, ...]`.
            start: int32 `[]`, the first of the rows; the block must end by row K.
            values: `[N, ...]`.
        """

    def fused_batch_norm(self, x: Any, gamma: Any, beta: Any, moments: tuple | None, epsilon: float) -> tuple | None:
        """Normalizes by one fused kernel, forward and backward, where the engine has one.

        Args:
            x: `[B, ..., C]`.
            gamma: `[C]`, float32.
            beta: `[C]`, float32.
            moments: mean and variance `[C]` to normalize by; None for those of the batch.
            epsilon: added to the variance.

        Returns:
            The normalized `[B, ..., C]`, mean `[C]` and unbiased variance `[C]` of the batch; None without a kernel.
        """


@functools.cache
def current() -> Engine:
    """Returns the engine that Keras runs on."""
    backend = keras.config.backend()
    if backend == "tensorflow":
        from zoo.engine import tensorflow

        return tensorflow.TensorFlow()
    if backend == "jax":
        from zoo.engine import jax

        return jax.JAX()
    from zoo.engine import plain

    return plain.Plain()
