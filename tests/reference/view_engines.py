"""Ways to run a view other than eagerly: as a graph, compiled, compiled image by image."""

import keras
import pytest

from zoo import context


def compiled(function):
    """`function` of arrays, compiled by the engine's compiler and called with them."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def image_by_image(function):
    def make(*arguments):
        with context.using(image_by_image=True):
            return function(*arguments)

    return compiled(make)


def traced(function):
    if keras.backend.backend() == "jax":
        pytest.skip("JAX has no graphs apart from its compiler's")
    import tensorflow as tf

    spec = [tf.TensorSpec([None, 16, 19, 3], tf.float32), tf.TensorSpec([None], tf.int32)]
    return tf.function(function, input_signature=spec, autograph=False)
