"""Settings that make the programs of tests faster."""

import keras


def graphs():
    """Has TensorFlow run graphs as they were traced: to optimize them takes longer than a few steps gain by it."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
