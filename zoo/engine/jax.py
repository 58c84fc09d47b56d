"""JAX under the core."""

from collections.abc import Callable, Sequence

import jax
import keras

from zoo.engine import plain


class JAX(plain.Plain):
    """Functions are jitted, variables passed in and out; see `zoo.engine.Engine`."""

    def on_cpu(self) -> bool:
        """Returns whether JAX computes on the CPU by default."""
        return jax.default_backend() == "cpu"

    def compiled(self, function: Callable, variables: Sequence | Callable[[], Sequence] = ()) -> Callable:
        """Compiles a function; JAX would compile every operation by itself otherwise."""

        def read():
            return variables() if callable(variables) else variables

        @jax.jit
        def stateless(values, *arguments):
            with keras.StatelessScope(state_mapping=list(zip(read(), values, strict=True))):
                return function(*arguments)

        return lambda *arguments: stateless([variable.value for variable in read()], *arguments)

    def node(self, function: Callable) -> Callable:
        """Compiles a pure function by itself."""
        return jax.jit(function)
