"""The few operations that depend on the engine, TensorFlow or JAX, and that Keras does not offer.

`engine.current()` returns the engine that Keras runs on. Every engine is a file of this folder.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras

from zoo import replicas


class Engine(Protocol):
    """Operations of an engine."""

    def on_cpu(self) -> bool:
        """Returns whether this machine has no accelerator that the engine can use."""

    def replicas(self) -> replicas.Replicas:
        """Returns the replicas that train together, seen from the one that runs the calling code."""

    def compiled(self, function: Callable, variables: Sequence = ()) -> Callable:
        """Compiles a function of arrays, once for every set of shapes that it is called with.

        Args:
            function: function from arrays to arrays. It may read variables; on TensorFlow it may also change them.
            variables: the variables that it reads. Every call uses their values at the time of the call.

        Returns:
            A function of the same arguments.
        """

    def occasional(self, function: Callable) -> Callable:
        """Compiles a function of arrays that runs rarely, unless compiling it would take longer than running it."""

    def node(self, function: Callable) -> Callable:
        """Wraps a pure function of tensors, which becomes one node in graphs and is traced once for every signature.

        This is for functions of many small operations that graphs use often, such as random bits.
        """

    def barrier(self, tensors: Any) -> Any:
        """Returns the same tensors, nested or not, which are computed before anything that uses them.

        Without a barrier, a compiler may fuse their computation into every operation that uses them, and so repeat it.
        """

    def value(self, variable: Any) -> Any:
        """Returns the present value of a variable as a tensor, without a copy where the engine allows it."""

    def rows(self, variable: Any, indices: Any) -> Any:
        """Returns some rows of a variable, without copying or locking the other rows.

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
        """Replaces consecutive rows in place, of a variable that is otherwise read as a whole.

        A tensor that `value` returned before may change, too, so assign after its last use.

        Args:
            variable: `[K, ...]`.
            start: int32 `[]`, number of the first row; start + N is at most K.
            values: `[N, ...]`.
        """

    def fused_batch_norm(self, x: Any, gamma: Any, beta: Any, moments: tuple | None, epsilon: float) -> tuple | None:
        """Normalizes by a kernel that is fused forward and backward, if the engine has one.

        Args:
            x: `[B, ..., C]`.
            gamma: `[C]`, float32.
            beta: `[C]`, float32.
            moments: mean `[C]` and variance `[C]` to normalize by; None for those of the batch.
            epsilon: added to the variance.

        Returns:
            Normalized x `[B, ..., C]`, and mean `[C]` and unbiased variance `[C]` of the batch; None without a kernel.
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
