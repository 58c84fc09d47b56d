"""K-means of the embeddings of all images, by scikit-learn."""

import numpy as np

from zoo import checks


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
    # The sums over the threads are added in any order, which makes no difference to two of them.
    with threadpoolctl.threadpool_limits(2, "openmp"):
        model.fit(embeddings)
    return model.cluster_centers_.astype(np.float32), model.labels_.astype(np.int32)
