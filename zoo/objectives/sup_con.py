"""Supervised contrast: all views of all images of a class attract each other (Khosla et al., 2020)."""

from typing import Any

from keras import ops

from zoo.objectives import blocked, info_nce


def sup_con(a: Any, b: Any, labels: Any, temperature: float, replicas: Any) -> tuple[Any, dict[str, Any]]:
    """Returns the supervised contrastive loss of two views, https://arxiv.org/abs/2004.11362, Eq. 2 (L_out).

    The positives of an anchor are the other view of its image and both views of all images of its class; all other
    views of the global batch are negatives. An image without a label has only its other view as a positive.

    Args:
        a: unit vectors of the first view, `[B, D]`.
        b: unit vectors of the second view, `[B, D]`.
        labels: classes, int32 `[B]`; -1 means none.
        temperature: positive float.
        replicas: group of replicas that share their candidates, see `zoo.replicas`.

    Returns:
        Loss of each image, `[B]` float32: the mean of its two views as anchors. It is that of `info_nce.nt_xent` where
        all labels differ.
        Logs: as of `info_nce.contrast_logs`; a hit is an anchor whose nearest candidate is a positive.

    Differs from the authors' code: it multiplies the loss by the temperature over 0.07.
    """
    a, b = ops.cast(a, "float32"), ops.cast(b, "float32")
    batch, total = a.shape[0], a.shape[0] * replicas.count
    candidates = ops.concatenate([replicas.gather(a), replicas.gather(b)], axis=0)  # [2N, D]
    logits = ops.matmul(ops.concatenate([a, b], axis=0) / temperature, ops.transpose(candidates))  # [2B, 2N]
    first = replicas.index * batch + ops.arange(batch)  # [B]
    itself = ops.concatenate([first, total + first], axis=0)[:, None] == ops.arange(2 * total)  # [2B, 2N]
    image = ops.concatenate([first, first], axis=0)[:, None] == ops.arange(2 * total) % total  # [2B, 2N]
    of_all = replicas.gather(labels)  # [N]
    own = ops.concatenate([labels, labels], axis=0)[:, None]  # [2B, 1]
    alike = ops.logical_and(own == ops.concatenate([of_all, of_all], axis=0), own >= 0)  # [2B, 2N]
    positive = ops.logical_and(ops.logical_or(alike, image), ops.logical_not(itself))  # [2B, 2N]
    weight = ops.cast(positive, "float32")
    mean = ops.sum(weight * logits, axis=1) / ops.sum(weight, axis=1)  # [2B], of the positive logits
    near = ops.where(positive, logits, -blocked.FAR)
    far = ops.where(ops.logical_or(positive, itself), -blocked.FAR, logits)
    # This is logsumexp(all others) - mean, without the cancellation where an anchor is almost solved.
    spread = ops.logsumexp(near - mean[:, None], axis=1)  # [2B], 0 where there is one positive
    loss = spread + ops.softplus(ops.logsumexp(far, axis=1) - mean - spread)  # [2B]
    hit = blocked.hits(ops.max(near, axis=1), ops.max(far, axis=1), temperature)  # [2B]
    return (loss[:batch] + loss[batch:]) / 2, info_nce.contrast_logs(loss, hit, 2 * total - 1)
