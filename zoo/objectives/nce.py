"""Noise-contrastive estimation (Gutmann & Hyvarinen, 2010) of the non-parametric softmax over all images.

Wu et al., 2018 (InsDis), https://arxiv.org/abs/1805.01978, Section 3.2; CMC (Tian et al., 2019),
https://arxiv.org/abs/1906.05849, trains with it too.
"""

import math
from typing import Any

from keras import ops

from zoo.objectives import blocked, info_nce


def nce(
    query: Any,
    positive: Any,
    negatives: Any,
    temperature: float,
    log_normalizer: Any,
    population: int,
    allowed: Any = None,
) -> tuple[Any, dict[str, Any]]:
    """Binary cross-entropy of the classifier that tells one positive of the data from K samples of uniform noise.

    With P(i) = exp(s_i / t) / Z and K noise samples from a uniform distribution over n images, an image comes from the
    data with probability h(i) = P(i) / (P(i) + K / n). The loss is -log h(positive) - sum log(1 - h(negative)).

    Args:
        query: unit vectors, `[B, D]`.
        positive: unit vectors, `[B, D]`.
        negatives: unit vectors, `[K, D]` or `[B, K, D]`.
        temperature: t, positive float.
        log_normalizer: log Z, scalar, see `log_partition`. No gradient flows into it.
        population: n, the number of images from which the negatives were drawn.
        allowed: bool `[B, K]`, False where a negative does not count. None allows all.

    Returns:
        Loss of each image, `[B]` float32.
        Logs: `contrast_accuracy` as in `info_nce.against_memory`.

    Differs from the authors' code: it computes with logarithms instead of adding 1e-7 to denominators.
    """
    positive, negatives = info_nce.logits(query, positive, negatives, temperature)  # [B], [B, K]
    count = negatives.shape[1]
    # h is a sigmoid of log P - log(K / n).
    offset = ops.stop_gradient(ops.cast(log_normalizer, "float32")) + math.log(max(count, 1) / population)
    mistaken = ops.softplus(negatives - offset)  # [B, K]
    if allowed is not None:
        mistaken = mistaken * ops.cast(allowed, "float32")
        negatives = ops.where(allowed, negatives, -blocked.FAR)
    hit = blocked.hits(positive, ops.max(negatives, axis=1), temperature) if count else ops.ones_like(positive)
    loss = ops.softplus(offset - positive) + ops.sum(mistaken, axis=1)
    return loss, {"contrast_accuracy": ops.mean(hit)}


def log_partition(
    query: Any,
    positive: Any,
    negatives: Any,
    temperature: float,
    population: int,
    replicas: Any,
    allowed: Any = None,
) -> Any:
    """Returns the logarithm of a Monte Carlo estimate of Z: n times the mean of exp(s / t) over a batch's candidates.

    Args:
        query: `[B, D]`; this and the other arguments are those of `nce`.
        positive: `[B, D]`.
        negatives: `[K, D]` or `[B, K, D]`.
        temperature: positive float.
        population: n.
        replicas: group of replicas over whose queries the mean is taken, see `zoo.replicas`.
        allowed: bool `[B, K]`.

    Returns:
        Scalar, without gradient.
    """
    positive, negatives = info_nce.logits(query, positive, negatives, temperature)
    counted = ops.ones_like(negatives) if allowed is None else ops.cast(allowed, "float32")  # [B, K]
    negatives = ops.where(counted > 0, negatives, -blocked.FAR)
    here = ops.logsumexp(ops.concatenate([positive, ops.reshape(negatives, [-1])]), keepdims=True)  # [1]
    total = ops.logsumexp(replicas.gather(ops.stop_gradient(here)))
    count = replicas.sum(ops.sum(counted) + positive.shape[0])
    return ops.stop_gradient(total - ops.log(count) + math.log(population))
