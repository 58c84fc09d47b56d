"""Compiled functions, and parts of them, on either engine."""

import functools

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


def node(function):
    """A function of tensors that a graph holds as one call: traced once for every signature, however often it is used.

    For what many small operations make up, and what graphs use often: random bits are most of the operations of a
    small step. The function must be pure.
    """
    if keras.config.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.config.backend() != "tensorflow":
        return function
    import tensorflow as tf

    # Inlined, every use would be optimised by itself.
    call = tf.function(function, autograph=False, experimental_attributes={"_noinline": True})

    @functools.wraps(function)
    def wrapped(*arguments):
        # Eagerly, to trace a new shape costs more than the operations.
        return function(*arguments) if tf.executing_eagerly() else call(*arguments)

    return wrapped
