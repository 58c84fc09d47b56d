"""Random bits as one node of a TensorFlow graph, for tests that trace many graphs."""

import numpy as np
import tensorflow as tf
from keras import ops

from zoo import seeds


def install():
    """Makes `seeds.threefry` a function of TensorFlow's in this process.

    It computes what it did, but is traced once and not inlined; its operations are most of those of a small step.
    """
    plain = seeds.threefry
    attributes = {"_noinline": True}
    node = tf.function(
        lambda key, counter: plain(key, counter, ops), autograph=False, experimental_attributes=attributes
    )

    def threefry(key, counter, xp):
        if xp is np:
            return plain(key, counter, xp)
        return node(*(tuple(tf.convert_to_tensor(word, tf.uint32) for word in pair) for pair in (key, counter)))

    seeds.threefry = threefry
