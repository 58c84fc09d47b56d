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
