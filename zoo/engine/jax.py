"""JAX as an engine."""

from collections.abc import Callable, Sequence

import jax
import keras

from zoo.engine import plain


class JAX(plain.Plain):
    """Compiles functions by `jax.jit`, to which the values of variables are arguments, see `zoo.engine.Engine`."""

    def on_cpu(self) -> bool:
        """Returns whether JAX computes on the CPU by default."""
        return jax.default_backend() == "cpu"

    def compiled(self, function: Callable, variables: Sequence = ()) -> Callable:
        """Compiles a function; otherwise JAX would compile every operation by itself."""

        @jax.jit
        def stateless(values, *arguments):
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return function(*arguments)

        return lambda *arguments: stateless([variable.value for variable in variables], *arguments)

    def node(self, function: Callable) -> Callable:
        """Compiles a pure function by itself."""
        return jax.jit(function)
