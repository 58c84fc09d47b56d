"""Contrastive cross-entropies: which of the candidates is the other view of the same image?"""

from typing import Any

from keras import ops, tree

from zoo.objectives import blocked

# Number of negatives that are compared at once: their logits with a batch stay in the cache of a core.
_ROWS = 2048


def contrast_logs(loss: Any, hit: Any, num_candidates: Any) -> dict[str, Any]:
    """Returns what contrastive objectives log.

    Args:
        loss: cross-entropies, `[B]`.
        hit: share of an image's queries whose positive is their nearest candidate, `[B]`.
        num_candidates: number of candidates of a query, the positive included.

    Returns:
        Scalars, float32: `contrast_accuracy`, the mean of `hit`; `contrast_loss`, the mean of the cross-entropies;
        `num_candidates`. A method that weighs or sums several losses logs those of every single one, so that
        `contrast_loss` compares with `log(num_candidates)`, the loss of guessing.
    """
    return {
        "contrast_accuracy": ops.mean(hit),
        "contrast_loss": ops.mean(ops.stop_gradient(loss)),
        "num_candidates": ops.cast(num_candidates, "float32"),
    }


def nt_xent_plain(a: Any, b: Any, temperature: float, replicas: Any) -> tuple[Any, dict[str, Any]]:
    """Returns the loss of `nt_xent` as the paper states it, from the matrix of all similarities.

    It is the reference for `nt_xent`, which documents the arguments and results and is faster from a few hundred images
    on.
    """
    a, b = ops.cast(a, "float32"), ops.cast(b, "float32")
    batch, total = a.shape[0], a.shape[0] * replicas.count
    candidates = ops.concatenate([replicas.gather(a), replicas.gather(b)], axis=0)  # [2N, D]
    logits = ops.matmul(ops.concatenate([a, b], axis=0) / temperature, ops.transpose(candidates))  # [2B, 2N]
    first = replicas.index * batch + ops.arange(batch)  # [B]
    itself = ops.one_hot(ops.concatenate([first, total + first], axis=0), 2 * total)  # [2B, 2N]
    partner = ops.roll(itself, total, axis=1)  # [2B, 2N]
    positive = ops.sum(logits * partner, axis=1)  # [2B]
    negatives = logits - blocked.FAR * (itself + partner)  # [2B, 2N]
    # This is logsumexp(positive and negatives) - positive, without the cancellation.
    loss = ops.softplus(ops.logsumexp(negatives, axis=1) - positive)  # [2B]
    hit = blocked.hits(positive, ops.max(negatives, axis=1), temperature)  # [2B]
    return (loss[:batch] + loss[batch:]) / 2, contrast_logs(loss, hit, 2 * total - 1)


def nt_xent(a: Any, b: Any, temperature: float, replicas: Any) -> tuple[Any, dict[str, Any]]:
    """Normalized temperature-scaled cross-entropy of two views, SimCLR (Chen et al., 2020), Eq. 1 and Algorithm 1.

    Each embedding is compared with the other view of its image (the positive) and with both views of every other image
    of the global batch: 2N - 2 negatives. The similarities are computed in blocks, see `zoo.objectives.blocked`;
    `nt_xent_plain` computes the same in one matrix.

    Args:
        a: unit vectors of the first view, `[B, D]`.
        b: unit vectors of the second view, `[B, D]`.
        temperature: positive float.
        replicas: group of replicas that share their negatives, see `zoo.replicas`.

    Returns:
        Loss of each image, `[B]` float32: the mean of its two directions. It is `log(2N - 1)` if all embeddings are
        equal.
        Logs of `contrast_logs`; the accuracy is that of the 2B anchors.

    Differs from the paper's code: it sums the two directions, which gives twice this value.
    """
    a, b = ops.cast(a, "float32"), ops.cast(b, "float32")
    batch, width = ops.shape(a)
    local, padding = blocked.to_blocks(a, b)  # [k, W, D]
    remote = None
    if replicas.count > 1:
        gathered = (ops.reshape(replicas.gather(z), (replicas.count, -1, width)) for z in (a, b))  # [R, B, D] each
        # Rolled until this replica comes first, which is then left out.
        remote, _ = blocked.to_blocks(*(ops.roll(z, -replicas.index, axis=0)[1:] for z in gathered))  # [R - 1, k, W, D]
    loss, hit = (blocked.from_blocks(z, batch) for z in blocked.cross_entropy(local, remote, padding, temperature))
    loss, hit = (loss[0] + loss[1]) / 2, (hit[0] + hit[1]) / 2
    return loss, contrast_logs(loss, hit, 2 * batch * replicas.count - 1)


def against_memory(
    query: Any, positive: Any, negatives: Any, temperature: float, allowed: Any = None
) -> tuple[Any, dict[str, Any]]:
    """InfoNCE of queries against stored embeddings, MoCo (He et al., https://arxiv.org/abs/1911.05722), Eq. 1.

    The negatives are a queue of keys (MoCo) or rows of a memory bank (InsDis, PIRL, CMC).

    Args:
        query: unit vectors, `[B, D]`; gradients flow through them.
        positive: unit vectors, row b belongs to query b, `[B, D]`; gradients flow through them.
        negatives: unit vectors, `[K, D]` shared by all queries or `[B, K, D]`; K may be 0. No gradients flow through
            them.
        temperature: positive float.
        allowed: bool `[B, K]`, False where a negative is not a candidate for a query, such as the query's own image.
            None allows all.

    Returns:
        Loss of each image, `[B]` float32: 0 without negatives, `log(1 + K)` if all candidates are equal.
        Logs of `contrast_logs`; negatives that are not allowed count as candidates.
    """
    query, positive, negatives = (ops.cast(z, "float32") for z in (query, positive, negatives))
    negatives = ops.stop_gradient(negatives)
    forward = ops.custom_gradient(lambda query, positive: _forward(query, positive, negatives, temperature, allowed))
    loss, hit = forward(query, positive)  # [B] each
    return loss, contrast_logs(loss, hit, 1 + ops.shape(negatives)[-2])


def _forward(query, positive, negatives, temperature, allowed):
    """Returns loss and hit, `[B]` each, and the function that computes the gradients.

    One pass over the negatives serves both: it also sums the negatives by their weights, which is most of the gradient.
    A second pass, or keeping the logits for it, would cost as much again. As in `zoo.objectives.blocked`, the sums are
    those of the negatives only, so that queries which are almost solved lose no digits.
    """
    scaled = query / temperature  # [B, D]
    logit = ops.sum(scaled * positive, axis=1)  # [B], of the positive
    count = negatives.shape[-2]
    # Negatives that differ between queries are compared at once: slicing would copy them.
    blocks = 0 if count is None or len(negatives.shape) == 3 else count // _ROWS

    def added(state, start, rows):
        """Adds a block to the highest logit and the sum of exp(logit - highest), `[B]`, weighted by rows `[B, D]`."""
        highest, total, weighted = state
        if len(negatives.shape) == 2:
            block = ops.slice(negatives, (start, 0), (rows, width))  # [k, D]
            logits = ops.matmul(scaled, ops.transpose(block))  # [B, k]
        else:
            block = negatives  # [B, k, D]
            logits = ops.matmul(block, scaled[:, :, None])[:, :, 0]
        if allowed is not None:
            logits = ops.where(ops.slice(allowed, (0, start), (batch, rows)), logits, -blocked.FAR)
        higher = ops.maximum(highest, ops.max(logits, axis=1))
        rescale = ops.exp(highest - higher)  # [B]
        odds = ops.exp(logits - higher[:, None])  # [B, k]
        summed = ops.matmul(odds, block) if len(block.shape) == 2 else ops.matmul(odds[:, None], block)[:, 0]
        return higher, total * rescale + ops.sum(odds, axis=1), weighted * rescale[:, None] + summed

    batch, width = ops.shape(query)
    # Begins with one negative that is infinitely far away: without any other, the loss is 0.
    state = ops.full_like(logit, -blocked.FAR), ops.ones_like(logit), ops.zeros_like(query)
    if count is None or count > blocks * _ROWS:
        state = added(state, blocks * _ROWS, ops.shape(negatives)[-2] - blocks * _ROWS)
    if blocks:
        state = ops.fori_loop(0, blocks, lambda i, state: added(state, i * _ROWS, _ROWS), state)
    highest, total, weighted = state
    loss = ops.softplus(highest + ops.log(total) - logit)  # [B]

    def gradient(*upstream):
        # The loss falls by the share of the negatives, 1 - exp(-loss), where the logit of the positive rises.
        slope = (-tree.flatten(upstream)[0] * ops.expm1(-loss))[:, None]  # [B, 1]
        return slope / temperature * (weighted / total[:, None] - positive), -slope * scaled

    return (loss, blocked.hits(logit, highest, temperature)), gradient


def logits(query: Any, positive: Any, negatives: Any, temperature: float) -> tuple[Any, Any]:
    """Returns similarities over the temperature: with the positive, float32 `[B]`, and with the negatives, `[B, K]`.

    The arguments are those of `against_memory`.
    """
    query, positive, negatives = (ops.cast(z, "float32") for z in (query, positive, negatives))
    query = query / temperature
    if len(negatives.shape) == 2:
        return ops.sum(query * positive, axis=1), ops.matmul(query, ops.transpose(negatives))
    return ops.sum(query * positive, axis=1), ops.matmul(negatives, query[:, :, None])[:, :, 0]
