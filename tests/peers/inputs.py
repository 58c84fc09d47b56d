"""The embeddings that our objectives and their peers are given, by NumPy's frozen generator: the same everywhere."""

import numpy as np

IMAGES, WIDTH, PROTOTYPES, QUEUED, CROPS = 12, 6, 7, 20, 4


def unit(*shape, seed):
    """Unit vectors, float32."""
    z = np.random.RandomState(seed).normal(size=shape)
    return (z / np.linalg.norm(z, axis=-1, keepdims=True)).astype("float32")


def views():
    """Two views of the images, `[B, D]` each."""
    return unit(IMAGES, WIDTH, seed=1), unit(IMAGES, WIDTH, seed=2)


def labels():
    """Classes, `[B]`."""
    return np.random.RandomState(3).randint(0, 4, IMAGES)


def scores():
    """Similarities with the prototypes of the crops, `[V, B, K]`, and of two queues, `[2, L, K]`."""
    prototypes = unit(PROTOTYPES, WIDTH, seed=4).T
    return unit(CROPS, IMAGES, WIDTH, seed=5) @ prototypes, unit(2, QUEUED, WIDTH, seed=6) @ prototypes
