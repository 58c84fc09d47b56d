"""Values and gradients of functions on whichever engine runs."""

import keras
import numpy as np
from keras import ops


def with_gradients(function, compiled=False):
    """Returns the function of its arguments that returns its losses and their gradients.

    Args:
        function: float32 tensors -> losses `[N]`.
        compiled: on TensorFlow False for eager execution, "graph" or "xla". JAX always compiles.

    Returns:
        Function of float32 arrays: the losses `[N]`, and a list of the gradients of their sum weighted by 1, 2, 3, ...
    """

    def weighted(losses):
        return ops.sum(losses * ops.arange(1, losses.shape[0] + 1, dtype="float32"))

    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        def run(*tensors):
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                losses = function(*tensors)
                total = weighted(losses)
            return losses, tape.gradient(total, tensors)

        run = tf.function(run, jit_compile=compiled == "xla") if compiled else run
    else:
        import jax

        def total(tensors):
            losses = function(*tensors)
            return weighted(losses), losses

        differentiated = jax.jit(jax.grad(total, has_aux=True))

        def run(*tensors):
            return differentiated(tensors)[::-1]

    def called(*arrays):
        losses, gradients = run(*(ops.convert_to_tensor(np.asarray(array, "float32")) for array in arrays))
        return np.asarray(losses), [np.asarray(gradient) for gradient in gradients]

    return called


def value_and_gradients(function, *arrays, compiled=False):
    """Returns the losses `[N]` of `function(*arrays)` and their gradients, see `with_gradients`."""
    return with_gradients(function, compiled)(*arrays)
