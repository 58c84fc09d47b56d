"""Contrastive cross-entropies: which of the candidates is the other view of the same image?"""

from keras import ops

# Taken from the logit of an embedding with itself: far below any real logit, yet finite in float32.
_FAR = 1e9


def nt_xent(a, b, temperature, replicas):
    """Normalised-temperature cross-entropy of two views, SimCLR (Chen et al., 2020), Eq. 1 and Algorithm 1.

    Each embedding is compared with the other view of its image (the positive) and with both views of every other image
    of the global batch: 2N - 2 negatives.

    Args:
        a: unit vectors of the first view, `[B, D]`.
        b: unit vectors of the second view, `[B, D]`.
        temperature: positive float.
        replicas: the group whose negatives are shared, see `zoo.replicas`.

    Returns:
        The loss per image, `[B]` float32: the mean of its two directions. All embeddings equal: `log(2N - 1)`.
        Logs: `contrast_accuracy`, the share of the 2B anchors whose positive is their nearest candidate.

    Differs from the paper's code: that sums the two directions, which is twice this value.
    """
    a, b = ops.cast(a, "float32"), ops.cast(b, "float32")
    everyone_a, everyone_b = replicas.gather(a), replicas.gather(b)  # [N, D]
    batch, total = ops.shape(a)[0], ops.shape(everyone_a)[0]
    me = ops.one_hot(ops.arange(batch) + replicas.index * batch, total)  # [B, N]

    def one_way(anchor, others, own):
        across = ops.matmul(anchor, ops.transpose(others)) / temperature  # [B, N]
        within = ops.matmul(anchor, ops.transpose(own)) / temperature - _FAR * me  # [B, N]
        logits = ops.concatenate([across, within], axis=1)  # [B, 2N]
        positive = ops.sum(across * me, axis=1)  # [B]
        hit = ops.cast(positive >= ops.max(logits, axis=1), "float32")  # [B]
        return ops.logsumexp(logits, axis=1) - positive, hit

    loss_a, hit_a = one_way(a, everyone_b, everyone_a)
    loss_b, hit_b = one_way(b, everyone_a, everyone_b)
    return (loss_a + loss_b) / 2, {"contrast_accuracy": ops.mean(hit_a + hit_b) / 2}


def against_memory(query, positive, negatives, temperature, allowed=None):
    """InfoNCE of a query against remembered embeddings, MoCo (He et al., https://arxiv.org/abs/1911.05722), Eq. 1.

    What the negatives are makes the method: a queue of keys (MoCo), rows of a memory bank (InsDis, PIRL, CMC).

    Args:
        query: unit vectors, `[B, D]`; gradients flow through them.
        positive: unit vectors, row b that of query b, `[B, D]`.
        negatives: unit vectors, the same for all queries `[K, D]`, or each query's own `[B, K, D]`; K may be 0.
        temperature: positive float.
        allowed: bool `[B, K]`, False where a negative is no candidate for a query: its own image, say. None allows all.

    Returns:
        The loss per image, `[B]` float32: 0 without candidates beside the positive, `log(1 + K)` if all are equal.
        Logs: `contrast_accuracy`, the share of queries whose positive is their nearest candidate.
    """
    positive, negatives = logits(query, positive, negatives, temperature)  # [B], [B, K]
    if allowed is not None:
        negatives = negatives - _FAR * ops.cast(ops.logical_not(allowed), "float32")
    # Relative to the positive, as log(1 + sum(exp)): nothing is lost where the positive is far ahead.
    behind = ops.concatenate([ops.zeros_like(positive)[:, None], negatives - positive[:, None]], axis=1)  # [B, 1 + K]
    hit = ops.cast(ops.max(behind, axis=1) <= 0, "float32")  # [B]
    return ops.logsumexp(behind, axis=1), {"contrast_accuracy": ops.mean(hit)}


def logits(query, positive, negatives, temperature):
    """Similarities over the temperature: with the positive, float32 `[B]`, and with the negatives, `[B, K]`.

    Args are those of `against_memory`.
    """
    query, positive, negatives = (ops.cast(z, "float32") for z in (query, positive, negatives))
    query = query / temperature
    if len(negatives.shape) == 2:
        return ops.sum(query * positive, axis=1), ops.matmul(query, ops.transpose(negatives))
    return ops.sum(query * positive, axis=1), ops.matmul(negatives, query[:, :, None])[:, :, 0]
