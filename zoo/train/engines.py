"""The engine under the loop: TensorFlow with its strategies, or JAX; whichever runs Keras.

An engine has

    count, chief                      replicas; whether this process is the one that writes
    scope()                           within which variables are made
    set_seed(seed)                    of initial weights
    task(...)                         a `task.Task` of its own; arguments as there
    shapes(function, *arguments)      of the images that a function returns, (H, W, C) each
    check(jit_compile)                refuses what it cannot do
    check_agreement(step, variables)  refuses workers that begin differently
    trainer(task, data, batch_size, seed, start, steps, jit_compile)
                                      `(first step, count) -> sums of the logs`, floats; trains that many steps,
                                      from `start` on; the run has `steps`
    record()                          what the record of a run says of it
"""

import keras


def engine(strategy=None):
    """The engine that trains.

    Args:
        strategy: what `strategies.strategy` returns; one device by default.
    """
    if keras.config.backend() == "tensorflow":
        from zoo.train import on_tensorflow

        return on_tensorflow.Engine(strategy)
    if keras.config.backend() == "jax":
        from zoo.train import on_jax

        return on_jax.Engine(strategy)
    raise ValueError(
        f"run: expected Keras to run on TensorFlow or JAX. Received: {keras.config.backend()!r}; set KERAS_BACKEND."
    )


def worker_lost():
    """The exceptions that mean that another worker died; their `message` says why."""
    if keras.config.backend() != "tensorflow":
        return ()
    import tensorflow as tf

    return tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError
