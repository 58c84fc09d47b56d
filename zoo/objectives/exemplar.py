"""Contrast with a queue whose labels are known: same-class keys as negatives, as neither, or as positives.

Exemplar: Zhao et al., 2020, https://arxiv.org/abs/2006.06606; UniMoCo: Dai et al., 2021,
https://arxiv.org/abs/2103.10773
"""

from typing import Any

from keras import ops

from zoo.objectives import blocked, info_nce


def same_class(labels: Any, queue_labels: Any) -> Any:
    """Returns whether an image and a key are of one class, bool `[B, K]`; never where a label is -1, which means none.

    Args:
        labels: classes of the queries, int `[B]`.
        queue_labels: classes of the keys, int `[K]`.
    """
    return ops.logical_and(labels[:, None] == queue_labels[None], labels[:, None] >= 0)


def exemplar(
    query: Any, positive: Any, negatives: Any, same: Any, temperature: float, allowed: Any
) -> tuple[Any, dict[str, Any]]:
    """InfoNCE whose denominator leaves out the keys of the query's class; only the image's own key is a positive.

    Args:
        query: unit vectors, `[B, D]`.
        positive: keys of the same images, unit vectors `[B, D]`.
        negatives: keys of the queue, unit vectors `[K, D]`.
        same: whether query and key are of one class, bool `[B, K]`.
        temperature: positive float.
        allowed: bool `[B, K]`, False where a key is of the query's own image.

    Returns:
        Loss of each image, `[B]` float32: that of MoCo where all labels differ, 0 where all keys are of its class.
        Logs: as of `info_nce.against_memory`.
    """
    allowed = ops.logical_and(allowed, ops.logical_not(same))
    return info_nce.against_memory(query, positive, negatives, temperature, allowed)


def unified(
    query: Any, positive: Any, negatives: Any, same: Any, temperature: float, allowed: Any
) -> tuple[Any, dict[str, Any]]:
    """UniMoCo's unified contrastive loss, in which the keys of the query's class are positives beside its own key.

    It is `log(1 + sum over negatives n and positives p of exp(s_n - s_p))`, with similarities s over the temperature.

    The arguments and results are those of `exemplar`. `contrast_accuracy` is the share of queries that are nearer to
    all of their positives than to any negative.
    """
    own, logits = info_nce.logits(query, positive, ops.stop_gradient(negatives), temperature)  # [B], [B, K]
    is_positive, is_negative = (
        ops.logical_and(allowed, chosen) for chosen in (same, ops.logical_not(same))
    )  # [B, K] each
    highest = ops.where(is_negative, logits, -blocked.FAR)
    lowest = ops.concatenate([own[:, None], ops.where(is_positive, logits, blocked.FAR)], axis=1)  # [B, 1 + K]
    loss = ops.softplus(ops.logsumexp(highest, axis=1) + ops.logsumexp(-lowest, axis=1))  # [B]
    hit = blocked.hits(ops.min(lowest, axis=1), ops.max(highest, axis=1), temperature)  # [B]
    return loss, {"contrast_accuracy": ops.mean(hit)}
