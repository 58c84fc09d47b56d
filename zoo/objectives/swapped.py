"""Swapped prediction of cluster assignments, SwAV (Caron et al., 2020, https://arxiv.org/abs/2006.09882)."""

from typing import Any

from keras import ops

from zoo.objectives import blocked, info_nce

# exp() of it leaves room for the products and sums of the iterations in float32, and so does exp() of the negative.
_LARGEST = 60.0


def sinkhorn(scores: Any, epsilon: float, iterations: int, replicas: Any, weight: Any = None) -> Any:
    """Returns soft assignments of images to prototypes, each prototype with the same share of the global batch (Eq. 3).

    The assignments are `diag(u) exp(scores / epsilon) diag(v)`; every iteration scales the columns, then the rows. Only
    the vectors u and v are kept, so that an iteration reads the matrix twice and writes nothing of its size.

    Args:
        scores: similarities of images and prototypes, `[B, K]`, on this replica.
        epsilon: positive; smaller values make the assignments harder, 0.05 in the paper.
        iterations: number of times that columns and rows are scaled, 3 in the paper.
        replicas: group of replicas that share the global batch, see `zoo.replicas`.
        weight: 1.0 for the rows that count and 0.0 for others, `[B]`; None counts all.

    Returns:
        Float32 `[B, K]`; rows sum to 1, and with enough iterations all columns have the same sum over the global batch.
        No gradient flows through them.
    """
    logits = ops.stop_gradient(ops.cast(scores, "float32")) / epsilon
    # With its largest entry at 1, a row of the kernel neither overflows nor vanishes; u starts at what was taken out.
    # Where scores are larger than those of unit vectors, or epsilon is less than 1/30, the first iteration differs; the
    # limit does not.
    highest = ops.max(logits, axis=1)  # [B]
    kernel = ops.exp(logits - highest[:, None])  # [B, K]
    weight = ops.ones_like(highest) if weight is None else weight
    rows = weight * ops.exp(ops.clip(highest - 1 / epsilon, -_LARGEST, _LARGEST))  # [B], u
    columns = ops.ones_like(kernel[0])  # [K], v
    share = replicas.sum(ops.sum(weight)) / kernel.shape[1]  # of the images, for every prototype
    for _ in range(iterations):
        # A prototype that is far from all images may underflow to 0; it then stays unassigned.
        mass = replicas.sum(ops.matmul(rows[None], kernel)[0])  # [K]
        columns = share / ops.maximum(mass, 1e-30)
        rows = weight / ops.matmul(kernel, columns[:, None])[:, 0]
    return rows[:, None] * kernel * columns


def swapped_prediction(scores: Any, codes: Any, temperature: float) -> tuple[Any, dict[str, Any]]:
    """Returns the cross-entropy between the assignments of one view and the scores of another (Eq. 2).

    Args:
        scores: similarities of a view and the prototypes, `[B, K]`.
        codes: assignments of another view of the same images, `[B, K]`; rows sum to 1.
        temperature: positive, 0.1 in the paper.

    Returns:
        Loss of each image, `[B]` float32; `log(K)` if all scores are equal.
        Logs: `prototype_accuracy`, the share of images whose views have the same nearest prototype; `contrast_loss` and
        `num_candidates`, as of `info_nce.contrast_logs`.
    """
    scores = ops.cast(scores, "float32") / temperature
    loss = -ops.sum(codes * ops.log_softmax(scores, axis=1), axis=1)  # [B]
    chosen = ops.one_hot(ops.argmax(codes, axis=1), scores.shape[1])  # [B, K]
    others = scores - blocked.FAR * chosen
    hit = blocked.hits(ops.sum(scores * chosen, axis=1), ops.max(others, axis=1), temperature)  # [B]
    logs = info_nce.contrast_logs(loss, hit, scores.shape[1])
    logs["prototype_accuracy"] = logs.pop("contrast_accuracy")
    return loss, logs
