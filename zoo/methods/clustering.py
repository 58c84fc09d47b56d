"""K-means of the embeddings of all images, by scikit-learn, and its result as the state of a method."""

from typing import Any

import keras
import numpy as np
from keras import ops

from zoo import checks, engine


def kmeans(embeddings: np.ndarray, count: int, seed: int = 0, iterations: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Clusters embeddings by Lloyd's algorithm, from random embeddings as the first centers.

    The result is the same at every call, bit for bit, so that an interrupted run can repeat it.

    Args:
        embeddings: float32 `[n, D]`.
        count: K, number of clusters, at most n.
        seed: of the first centers.
        iterations: greatest number of passes over the embeddings.

    Returns:
        Centers, float32 `[K, D]`, and the cluster of every embedding, int32 `[n]`.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: an embedding is not finite, or there are more clusters than embeddings.
    """
    # Imported here: only methods that cluster need it.
    import threadpoolctl
    from sklearn import cluster

    checks.require(count <= len(embeddings), "kmeans", f"`count` of at most {len(embeddings)} embeddings", count=count)
    finite = bool(np.isfinite(embeddings).all())
    checks.require(finite, "kmeans", "finite embeddings", finite=finite)
    model = cluster.KMeans(count, init="random", n_init=1, max_iter=iterations, random_state=seed)
    # With two threads, the order in which their sums are added makes no difference.
    with threadpoolctl.threadpool_limits(2, "openmp"):
        model.fit(embeddings)
    return model.cluster_centers_.astype(np.float32), model.labels_.astype(np.int32)


class Clusters(keras.layers.Layer):
    """The state of one clustering of all images.

    Args:
        images: n, number of images.
        count: K, number of clusters.
        width: D.
        name: name of the layer.
    """

    def __init__(self, images: int, count: int, width: int, name: str):
        super().__init__(name=name)
        state = {"trainable": False, "autocast": False}
        self.centers = self.add_weight(shape=(count, width), initializer="zeros", name="centers", **state)
        self.concentrations = self.add_weight(shape=(count,), initializer="ones", name="concentrations", **state)
        self.assigned = self.add_weight(shape=(images,), initializer="zeros", dtype="int32", name="assigned", **state)
        self.built = True

    def update(self, centers: np.ndarray, concentrations: np.ndarray, assigned: np.ndarray) -> None:
        """Replaces the centers `[K, D]`, scaled to unit length, their temperatures `[K]` and the clusters `[n]`."""
        lengths = np.linalg.norm(centers, axis=1, keepdims=True)
        self.centers.assign(centers / np.maximum(lengths, 1e-12))
        self.concentrations.assign(concentrations)
        self.assigned.assign(assigned)

    def of(self, rows: Any) -> tuple[Any, Any, Any]:
        """Returns the centers `[K, D]`, their temperatures `[K]`, and the clusters of images, int32 `[B] -> [B]`."""
        cluster = engine.current().rows(self.assigned, rows)
        return ops.convert_to_tensor(self.centers), ops.convert_to_tensor(self.concentrations), cluster
