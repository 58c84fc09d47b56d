"""Contrastive cross-entropies: which of the candidates is the other view of the same image?"""

from keras import ops, tree

from zoo.objectives import partition

# Negatives that are looked at together: their logits with a batch stay in a core's cache.
_ROWS = 2048


def nt_xent(a, b, temperature, replicas):
    """Normalised-temperature cross-entropy of two views, SimCLR (Chen et al., 2020), Eq. 1 and Algorithm 1.

    Each embedding is compared with the other view of its image (the positive) and with both views of every other image
    of the global batch: 2N - 2 negatives. Their similarities are never held at once, see `partition`.

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
    batch, others = ops.shape(a)[0], None
    own, padding = partition.blocks(a, b)  # [k, W, D]
    if replicas.count > 1:
        apart = (replicas.count, -1, ops.shape(a)[1])
        everyone = (ops.reshape(replicas.gather(z), apart) for z in (a, b))  # [R, B, D] each
        # Turned until this replica comes first, which is then left out.
        others, _ = partition.blocks(*(ops.roll(z, -replicas.index, axis=0)[1:] for z in everyone))  # [R - 1, k, W, D]
    log_sum, nearest, positive = partition.log_partition(own, others, padding, temperature)  # [k, W] each
    log_a, log_b = partition.views(log_sum, batch)  # [B] each
    hit_a, hit_b = partition.views(ops.cast(positive >= nearest, "float32"), batch)  # [B] each
    loss = (log_a + log_b) / 2 - ops.sum(a / temperature * b, axis=1)
    return loss, {"contrast_accuracy": ops.mean(hit_a + hit_b) / 2}


def against_memory(query, positive, negatives, temperature, allowed=None):
    """InfoNCE of a query against remembered embeddings, MoCo (He et al., https://arxiv.org/abs/1911.05722), Eq. 1.

    What the negatives are makes the method: a queue of keys (MoCo), rows of a memory bank (InsDis, PIRL, CMC).

    Args:
        query: unit vectors, `[B, D]`; gradients flow through them.
        positive: unit vectors, row b that of query b, `[B, D]`; gradients flow through them.
        negatives: unit vectors, the same for all queries `[K, D]`, or each query's own `[B, K, D]`; K may be 0. They
            are remembered: no gradients flow.
        temperature: positive float.
        allowed: bool `[B, K]`, False where a negative is no candidate for a query: its own image, say. None allows all.

    Returns:
        The loss per image, `[B]` float32: 0 without candidates beside the positive, `log(1 + K)` if all are equal.
        Logs: `contrast_accuracy`, the share of queries whose positive is their nearest candidate.
    """
    query, positive, negatives = (ops.cast(z, "float32") for z in (query, positive, negatives))
    negatives = ops.stop_gradient(negatives)
    passed = ops.custom_gradient(lambda query, positive: _passed(query, positive, negatives, allowed))
    loss, hit = passed(query / temperature, positive)  # [B] each
    return loss, {"contrast_accuracy": ops.mean(hit)}


def _passed(query, positive, negatives, allowed):
    """Loss and hits, `[B]` each, of one pass over the negatives, and the function that makes their gradients.

    Most of the gradient is a by-product: what the pass holds anyway is weighted and summed. To pass a second time, or
    to keep the logits until then, costs as much again.
    """
    ahead = ops.sum(query * positive, axis=1)  # [B]
    count = negatives.shape[-2]
    # Each query's own are looked at once and as a whole: to cut them up would copy them.
    blocks = 0 if count is None or len(negatives.shape) == 3 else count // _ROWS

    def meet(state, start, rows):
        """The highest logit, the sum of exp(logit - highest), `[B]`, and of exp(logit - highest) * row, `[B, D]`."""
        highest, total, pull = state
        if len(negatives.shape) == 2:
            block = ops.slice(negatives, (start, 0), (rows, width))  # [k, D]
            logits = ops.matmul(query, ops.transpose(block))  # [B, k]
        else:
            block = negatives  # [B, k, D]
            logits = ops.matmul(block, query[:, :, None])[:, :, 0]
        if allowed is not None:
            logits = ops.where(ops.slice(allowed, (0, start), (batch, rows)), logits, -partition.FAR)
        higher = ops.maximum(highest, ops.max(logits, axis=1))
        less = ops.exp(highest - higher)  # [B]
        odds = ops.exp(logits - higher[:, None])  # [B, k]
        met = ops.matmul(odds, block) if len(block.shape) == 2 else ops.matmul(odds[:, None], block)[:, 0]
        return higher, total * less + ops.sum(odds, axis=1), pull * less[:, None] + met

    batch, width = ops.shape(query)
    state = ahead, ops.ones_like(ahead), ops.zeros_like(query)
    if count is None or count > blocks * _ROWS:
        state = meet(state, blocks * _ROWS, ops.shape(negatives)[-2] - blocks * _ROWS)
    if blocks:
        state = ops.fori_loop(0, blocks, lambda i, state: meet(state, i * _ROWS, _ROWS), state)
    highest, total, pull = state

    def gradient(*upstream):
        slope = tree.flatten(upstream)[0][:, None]  # [B, 1]
        wrong = ops.exp(ahead - highest - ops.log(total))[:, None] - 1  # minus the odds of all negatives
        return slope * (pull / total[:, None] + wrong * positive), slope * wrong * query

    # As log(1 + sum(exp)) where the positive is ahead, which loses nothing however far.
    loss = highest - ahead + ops.log(total)
    return (loss, ops.stop_gradient(ops.cast(ahead >= highest, "float32"))), gradient


def logits(query, positive, negatives, temperature):
    """Similarities over the temperature: with the positive, float32 `[B]`, and with the negatives, `[B, K]`.

    Args are those of `against_memory`.
    """
    query, positive, negatives = (ops.cast(z, "float32") for z in (query, positive, negatives))
    query = query / temperature
    if len(negatives.shape) == 2:
        return ops.sum(query * positive, axis=1), ops.matmul(query, ops.transpose(negatives))
    return ops.sum(query * positive, axis=1), ops.matmul(negatives, query[:, :, None])[:, :, 0]
