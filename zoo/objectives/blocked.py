"""NT-Xent computed block by block, so that the matrix of all similarities is never held.

The loss of an anchor is log(1 + sum of exp(negative - positive)) over the logits of its negatives. This form keeps its
digits when the anchor is almost solved; the log-sum-exp of all candidates minus the positive would not.

The embeddings of this replica are cut into k blocks of W rows, which form a ring: block 0 follows block k - 1.

- First every block is compared with itself. A block holds both views of its images, so all positives are found here.
- In round d every block is compared with the block d places further on, all k of them in one batched product. The
  logits are symmetric: their rows serve the anchors of the one block, their columns those of the other. As k is odd,
  (k - 1) / 2 rounds compare each pair of blocks exactly once.
- Blocks of other replicas are compared in all k positions, and only rows are used: the other replica computes the
  losses of its own anchors.

One round holds k * W * W logits, about 2B * W, instead of 2B * 2N. Only two numbers per anchor are kept for the
backward pass, which computes the logits again: that costs less than writing all of them to memory and reading them.
"""

from typing import Any

from keras import ops, tree

# Approximate number of images in a block, whose two views make twice as many rows. Matrix products are slow with
# smaller blocks; the logits of larger ones do not stay in the caches.
BLOCK = 256
# Subtracted from the logits of pairs that do not count: exp() of them is 0, and they stay finite in float32.
FAR = 1e9
# Up to this logit, sums of exp(logit) need no shift: exp(-2 * 40) and thousands of exp(2 * 40) are normal float32
# numbers. The factor 2 leaves room for vectors that are up to 1.4 times longer than unit vectors.
_BOUND = 40.0
# Similarities of unit vectors that differ by less count as equal.
_ROUNDING = 1e-6


def to_blocks(a: Any, b: Any) -> tuple[Any, Any]:
    """Arranges the two views of each image in blocks.

    Args:
        a: first views, `[..., B, D]`.
        b: second views, `[..., B, D]`.

    Returns:
        Blocks `[..., k, W, D]`, W = 2 * m: the first views of m images, then their second views.
        Padding `[k, W]`: 1.0 for the rows that fill up the last blocks, 0.0 for others. None if there are no such rows.
    """
    batch, width = ops.shape(a)[-2:]
    count = (batch + BLOCK - 1) // BLOCK
    count = count - 1 + count % 2  # k, odd
    images = (batch + count - 1) // count  # m
    missing, padding = count * images - batch, None
    if not (isinstance(missing, int) and missing == 0):
        a, b = (ops.concatenate([z, ops.zeros_like(z)[..., :missing, :]], axis=-2) for z in (a, b))
        padding = ops.cast(ops.reshape(ops.arange(count * images) >= batch, (count, images)), "float32")  # [k, m]
        padding = ops.concatenate([padding, padding], axis=1)  # [k, W]
    leading = tuple(ops.shape(a)[:-2])
    a, b = (ops.reshape(z, (*leading, count, images, width)) for z in (a, b))  # [..., k, m, D]
    return ops.concatenate([a, b], axis=-2), padding


def from_blocks(values: Any, batch: Any) -> tuple[Any, Any]:
    """Returns the values of the first and of the second views, `[B]` each, from values `[k, W]` in blocks."""
    count, rows = ops.shape(values)
    values = ops.reshape(values, (count, 2, rows // 2))
    first, second = (ops.reshape(values[:, view], (-1,))[:batch] for view in range(2))
    return first, second


def cross_entropy(local: Any, remote: Any, padding: Any, temperature: float) -> tuple[Any, Any]:
    """Returns the NT-Xent of each embedding of this replica against all others.

    Args:
        local: embeddings of this replica, `[k, W, D]`, as `to_blocks` arranges them. Gradients flow through them.
        remote: embeddings of the other replicas, `[R - 1, k, W, D]`, or None. Gradients flow through them.
        padding: second result of `to_blocks`, the same for all replicas.
        temperature: positive float.

    Returns:
        Loss `[k, W]`, meaningless for padding.
        Hit `[k, W]`: 1.0 where the positive is at least as near as every negative, else 0.0.
    """

    def forward(local, remote=None):
        ring = _Ring(local, remote, padding, temperature)
        loss, positive, hit = ring.losses()
        return (loss, hit), lambda *upstream: ring.gradients(loss, positive, tree.flatten(upstream)[0])

    return ops.custom_gradient(forward)(*((local,) if remote is None else (local, remote)))


def hits(positive: Any, highest: Any, temperature: float) -> Any:
    """Returns 1.0 where the logit of the positive exceeds the highest of the negatives, else 0.0.

    Ties are no hits, even if the processor rounds the two differently; so a collapsed network has no hits.

    Args:
        positive: `[...]`.
        highest: `[...]`.
        temperature: by which the similarities were divided.
    """
    return ops.cast(positive > highest + _ROUNDING / temperature, "float32")


def _transpose(z):
    return ops.swapaxes(z, -1, -2)


def _after(turn, result):
    """Returns `turn`, but makes it depend on the `result` of the previous round.

    TensorFlow runs up to ten independent iterations of a loop at once, which would hold the logits of ten rounds. The
    value of `turn` is wrong only if the result is NaN, and then the loss is lost anyway.
    """
    first = ops.reshape(result, (-1,))[0]
    return turn + ops.cast(ops.isnan(first), "int32")


class _Ring:
    """The rounds of one call of `cross_entropy`, which describes the arguments."""

    def __init__(self, local, remote, padding, temperature):
        self.local, self.remote, self.padding, self.temperature = local, remote, padding, temperature
        self.count, self.rows = ops.shape(local)[:2]  # k, W
        self.bounded = 1 / temperature <= _BOUND
        self.columns = _transpose(local)  # [k, D, W]
        self.anchors, self.candidates = self._factors(local)
        self.remote_candidates = None if remote is None else self._factors(remote)[1]  # [R - 1, k, D', W]
        half = self.rows // 2
        self.partners = ops.concatenate([local[:, half:], local[:, :half]], axis=1)  # [k, W, D], the other views
        # Within a block, -FAR between the views of one image, which are not negatives of each other.
        self.same_image = ops.tile(-FAR * ops.eye(half), (2, 2))  # [W, W]

    def _factors(self, z):
        """Returns anchors `[..., W, D']` and candidates `[..., D', W]`, whose products are logits."""
        left, right = z / self.temperature, z
        if self.padding is not None:
            # Two more columns subtract `FAR` from the logits of padding, at no cost per pair.
            far = ops.broadcast_to(-FAR * self.padding[..., None], (*ops.shape(z)[:-1], 1))
            left = ops.concatenate([left, ops.ones_like(far), far], axis=-1)
            right = ops.concatenate([right, far, ops.ones_like(far)], axis=-1)
        return left, _transpose(right)

    def _own_logits(self):
        """Returns the logits of negatives within the blocks, `[k, W, W]`."""
        return ops.matmul(self.anchors, self.candidates) + self.same_image

    def _logits(self, turn, replica=None):
        """Returns the logits `[k, W, W]` with the blocks `turn` places further on, of this or another replica."""
        candidates = self.candidates if replica is None else ops.take(self.remote_candidates, replica, axis=0)
        return ops.matmul(self.anchors, ops.roll(candidates, -turn, axis=0))

    def _rounds(self, body, state):
        """Returns the state after the rounds of half a turn, which compare each pair of different blocks once."""
        if isinstance(self.count, int) and self.count == 1:
            return state
        return ops.fori_loop(1, self.count // 2 + 1, body, state)

    def losses(self):
        """Returns the loss, the logit of the positive, and the hit of each anchor, `[k, W]` each."""
        positive = ops.sum(self.local * self.partners, axis=2) / self.temperature  # [k, W]
        logits = self._own_logits()
        highest = ops.max(logits, axis=2)  # [k, W]
        total = ops.sum(ops.exp(logits if self.bounded else logits - highest[:, :, None]), axis=2)  # [k, W]

        def compare(turn, state):
            logits = self._logits(_after(turn, state[1]))
            return self._added(self._added(state, logits, 2, 0), logits, 1, turn)

        def compare_remote(i, state):
            i = _after(i, state[1])
            return self._added(state, self._logits(i % self.count, i // self.count), 2, 0)

        state = self._rounds(compare, (highest, total))
        if self.remote is not None:
            state = ops.fori_loop(0, ops.shape(self.remote)[0] * self.count, compare_remote, state)
        highest, total = state
        log_negatives = ops.log(total) if self.bounded else highest + ops.log(total)  # [k, W], -inf without negatives
        loss = ops.softplus(log_negatives - positive)
        return loss, positive, hits(positive, highest, self.temperature)

    def _added(self, state, logits, axis, turn):
        """Adds negatives to the state: the highest logit and the sum of exp(logit - shift) so far, `[k, W]` each.

        The shift is 0 if the logits are bounded, and the highest logit otherwise.

        Args:
            state: state before the round.
            logits: `[k, W, W]`.
            axis: axis of the candidates in `logits`: 2 for the anchors in its rows, 1 for those in its columns.
            turn: how many places further on the blocks of the anchors are.
        """
        highest, total = state
        higher = ops.maximum(highest, ops.roll(ops.max(logits, axis=axis), turn, axis=0))  # [k, W]
        if not self.bounded:
            total = total * ops.exp(highest - higher)
            logits = logits - ops.expand_dims(ops.roll(higher, -turn, axis=0), axis)
        return higher, total + ops.roll(ops.sum(ops.exp(logits), axis=axis), turn, axis=0)

    def gradients(self, loss, positive, upstream):
        """Returns the gradients with respect to `local` and, if there are any, `remote`.

        The derivative of a loss is exp(-loss) - 1 for the logit of the positive, and exp(negative - log_sum) for that
        of a negative, where log_sum = positive + loss is the log-sum-exp of all candidates.

        Args:
            loss: `[k, W]`.
            positive: logits of the positives, `[k, W]`.
            upstream: gradient with respect to `loss`, `[k, W]`.
        """
        slope, log_sum = upstream / self.temperature, positive + loss  # [k, W] each

        def compare(turn, sums):
            by_row, by_column = sums  # [k, W, D], [k, D, W]
            turn = _after(turn, by_row)
            weights = self._weights(self._logits(turn), turn, log_sum, slope)
            by_row = by_row + ops.matmul(weights, ops.roll(self.local, -turn, axis=0))
            return by_row, by_column + ops.roll(ops.matmul(self.columns, weights), turn, axis=0)

        def compare_remote(replica, sums):
            by_row, by_replica = sums  # [k, W, D], [R - 1, k, W, D]
            remote = ops.take(self.remote, replica, axis=0)  # [k, W, D]

            def compare(turn, sums):
                by_row, by_column = sums
                turn = _after(turn, by_row)
                weights = ops.exp(self._logits(turn, replica) - log_sum[:, :, None]) * slope[:, :, None]
                by_row = by_row + ops.matmul(weights, ops.roll(remote, -turn, axis=0))
                return by_row, by_column + ops.roll(ops.matmul(self.columns, weights), turn, axis=0)

            by_row, by_column = ops.fori_loop(0, self.count, compare, (by_row, ops.zeros_like(self.columns)))
            here = ops.cast(ops.arange(ops.shape(by_replica)[0]) == replica, "float32")[:, None, None, None]
            return by_row, by_replica + here * _transpose(by_column)

        solved = slope * ops.expm1(-loss)  # [k, W]; the pair of an image is the positive of both its views
        pair = (solved + ops.roll(solved, self.rows // 2, axis=1))[:, :, None]  # [k, W, 1]
        weights = self._weights(self._own_logits(), 0, log_sum, slope)
        by_row = ops.matmul(weights, self.local) + pair * self.partners
        by_row, by_column = self._rounds(compare, (by_row, ops.zeros_like(self.columns)))
        by_row = by_row + _transpose(by_column)
        if self.remote is None:
            return by_row
        return ops.fori_loop(0, ops.shape(self.remote)[0], compare_remote, (by_row, ops.zeros_like(self.remote)))

    def _weights(self, logits, turn, log_sum, slope):
        """Returns the gradient with respect to the logits of negatives, `[k, W, W]`, from both ends of each pair."""
        if self.bounded:
            scale = slope * ops.exp(-log_sum)  # [k, W]
            return ops.exp(logits) * (scale[:, :, None] + ops.roll(scale, -turn, axis=0)[:, None])
        column_sum, column_slope = (ops.roll(z, -turn, axis=0)[:, None] for z in (log_sum, slope))  # [k, 1, W] each
        by_row = ops.exp(logits - log_sum[:, :, None]) * slope[:, :, None]
        return by_row + ops.exp(logits - column_sum) * column_slope
