"""Measures the speed of the machine: products of large matrices, and copying."""

import concurrent.futures
import os

from zoo.tools.benches import runner

_SOURCE = "zoo.tools.benches.ceilings"


def ceilings(quick):
    """Returns candidates that measure a CPU's speed, by name, with the operations or bytes of a run."""
    side, megabytes = (256, 1) if quick else (3072, 256)
    given = {"precision": "float32", "side": side}
    return {
        "arithmetic": (runner.Candidate("arithmetic", _SOURCE, "arithmetic", given), 2.0 * side**3),
        "copying": (runner.Candidate("copying", _SOURCE, "copying", {"megabytes": megabytes}), 2.0 * megabytes * 2**20),
    }


def arithmetic(precision, side):
    """Returns a matrix product of `2 * side ** 3` operations."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal([side, side]), precision)

    @tf.function(autograph=False)
    def product():
        return tf.reduce_sum(tf.matmul(matrix, matrix)[:1])

    return lambda: float(product()), None


def copying(megabytes):
    """Returns a run in which every core copies its part of an array."""
    import numpy as np

    source = np.ones(megabytes * 2**18, "float32")
    target = np.zeros_like(source)
    count = len(os.sched_getaffinity(0))
    parts = list(zip(np.array_split(source, count), np.array_split(target, count), strict=True))
    pool = concurrent.futures.ThreadPoolExecutor(count)
    return lambda: list(pool.map(lambda part: np.copyto(part[1], part[0]), parts)), None
