"""Compiled functions on either engine."""

import keras


def light(function):
    """A function of arrays that is called now and then: as it is on TensorFlow, where to trace it costs more.

    JAX would compile every operation by itself, so there it is `compiled`.
    """
    return function if keras.config.backend() == "tensorflow" else compiled(function)


def compiled(function, variables=()):
    """A function of arrays, compiled for every set of shapes it meets.

    Args:
        function: of arrays, to arrays; it may read variables, and on TensorFlow alone change them.
        variables: those that it reads, a sequence or a function that returns one. Their present values count.

    Returns:
        A function of the same arguments.
    """
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf  # The core is free of the engines but for what Keras has no name for.

        return tf.function(function, autograph=False, reduce_retracing=True)
    import jax

    def read():
        return variables() if callable(variables) else variables

    @jax.jit
    def stateless(values, *arguments):
        with keras.StatelessScope(state_mapping=list(zip(read(), values, strict=True))):
            return function(*arguments)

    return lambda *arguments: stateless([variable.value for variable in read()], *arguments)
