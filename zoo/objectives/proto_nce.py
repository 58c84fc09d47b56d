"""ProtoNCE: contrast of images with the centers of clusters (PCL, Li et al., 2020, https://arxiv.org/abs/2005.04966)."""

from typing import Any

import numpy as np
from keras import ops

from zoo.objectives import blocked


def proto_nce(
    query: Any, centers: Any, concentrations: Any, cluster: Any, drawn: Any = None
) -> tuple[Any, dict[str, Any]]:
    """Returns the cross-entropy of every image against the centers of the clusters, one clustering of Eq. 11.

    Args:
        query: unit vectors, `[B, D]`.
        centers: unit vectors, `[K, D]`.
        concentrations: temperature of every cluster, `[K]`, see `concentrations`.
        cluster: cluster of every image, int32 `[B]`.
        drawn: numbers of the clusters that serve as negatives, int32 `[R]`; None takes all other clusters.

    Returns:
        Loss of each image, `[B]` float32; 0 if there is one cluster.
        Logs: `prototype_accuracy`, the share of images whose own cluster has the highest score.

    Differs from the authors' code: it adds the clusters of the other images of the batch to those that are drawn, and
    an image whose neighbor in the batch is of the same cluster gets its own center as a negative.
    """
    query = ops.cast(query, "float32")
    temperature = ops.take(concentrations, cluster, axis=0)  # [B]
    own = ops.sum(query * ops.take(centers, cluster, axis=0), axis=1) / temperature  # [B]
    numbers = ops.arange(centers.shape[0], dtype="int32")
    if drawn is not None:
        numbers = drawn
        centers, concentrations = ops.take(centers, drawn, axis=0), ops.take(concentrations, drawn, axis=0)
    logits = ops.matmul(query, ops.transpose(centers)) / concentrations  # [B, R]
    logits = ops.where(cluster[:, None] == numbers, -blocked.FAR, logits)
    loss = ops.softplus(ops.logsumexp(logits, axis=1) - own)  # [B]
    hit = blocked.hits(own, ops.max(logits, axis=1), temperature)
    return loss, {"prototype_accuracy": ops.mean(hit)}


def concentrations(distances: np.ndarray, cluster: np.ndarray, count: int, temperature: float) -> np.ndarray:
    """Returns the temperature of every cluster: low for large and compact ones (Section 3.3, Eq. 12).

    It is the mean distance over `log(Z + 10)` for a cluster of Z images. Clusters of one image or none get the greatest
    of these values. All are then clipped to the 10th and 90th percentiles and scaled to the given mean, as in the
    authors' code.

    Differs from the authors' code: no value is less than a hundredth of the greatest, so that clusters of equal images
    do not get a temperature of 0.

    Args:
        distances: Euclidean distance of every image to the center of its cluster, `[n]`.
        cluster: cluster of every image, int `[n]`.
        count: K, number of clusters.
        temperature: mean of the result, positive.

    Returns:
        Float32 `[K]`.
    """
    sizes = np.bincount(cluster, minlength=count)
    means = np.bincount(cluster, distances, count) / np.maximum(sizes, 1)
    spread = means / np.log(sizes + 10)
    several = sizes > 1
    spread = np.where(several, spread, spread[several].max(initial=0))
    spread = np.clip(spread, *np.percentile(spread, (10, 90)))
    spread = np.maximum(spread, 0.01 * spread.max())
    if not spread.mean() > 0:  # all images coincide with their centers
        return np.full(count, temperature, np.float32)
    return (temperature * spread / spread.mean()).astype(np.float32)
