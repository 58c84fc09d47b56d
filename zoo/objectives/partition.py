"""The partition function of embeddings that are all compared with each other, without the matrix of their similarities.

The embeddings lie in k blocks on a ring. In round d every block meets the one d places further on, so that half a turn
shows each pair once, and both its ends learn of it: k is odd, else the last round would show its pairs twice. A round
holds N * W numbers instead of N * N. For the gradient its logits are computed anew, which costs less than to write all
of them down and to read them.
"""

from keras import ops, tree

# Images in a block, about; two blocks' are one. Fewer make matrix products slow, more outgrow the caches.
BLOCK = 256
# Logits up to which exp needs no shift: exp(-2 * 40), and thousands of exp(2 * 40), are float32 numbers, so that the
# vectors may even be longer than 1 by two fifths.
_BOUND = 40.0
# Taken from the logit of what is no candidate: far below any real logit, yet finite in float32.
FAR = 1e9


def blocks(a, b):
    """Both views of every image, in blocks.

    Args:
        a: `[..., B, D]`.
        b: the other views, `[..., B, D]`.

    Returns:
        `[..., k, W, D]`, W = 2 * m: a block holds the first views of m images, then their second ones. And 1.0 for the
        rows that only fill the last blocks up, 0.0 for others, `[k, W]`; None where there are none.
    """
    batch, width = ops.shape(a)[-2:]
    count = (batch + BLOCK - 1) // BLOCK
    count = count - 1 + count % 2  # k
    images = (batch + count - 1) // count  # m
    missing, padding = count * images - batch, None
    if not (isinstance(missing, int) and missing == 0):
        a, b = (ops.concatenate([z, ops.zeros_like(z)[..., :missing, :]], axis=-2) for z in (a, b))
        padding = ops.cast(ops.reshape(ops.arange(count * images) >= batch, (count, images)), "float32")  # [k, m]
        padding = ops.concatenate([padding, padding], axis=1)
    lead = tuple(ops.shape(a)[:-2])
    a, b = (ops.reshape(z, (*lead, count, images, width)) for z in (a, b))  # [..., k, m, D]
    return ops.concatenate([a, b], axis=-2), padding


def views(values, batch):
    """Back from blocks, `[k, W]`, to the values of the first and of the second views, `[B]` each."""
    count, rows = ops.shape(values)
    values = ops.reshape(values, (count, 2, rows // 2))
    return tuple(ops.reshape(values[:, view], (-1,))[:batch] for view in range(2))


def log_partition(own, others, padding, temperature):
    """For each embedding of this replica the log of the sum of exp(similarity / temperature) over all but itself.

    Gradients flow into `own` and `others`, through the first result only.

    Args:
        own: `[k, W, D]`, as `blocks` makes them.
        others: those of the other replicas, `[R - 1, k, W, D]`, or None where there are none.
        padding: as `blocks` tells it, the same for all replicas.
        temperature: positive float.

    Returns:
        Three arrays `[k, W]`: the log sum; the highest logit of a negative; the logit of the positive.
    """

    def summed(own, others=None):
        ring = _Ring(own, others, padding, temperature)
        found = ring.log_sums()
        return found, lambda *upstream: ring.gradients(found[0], tree.flatten(upstream)[0])

    return ops.custom_gradient(summed)(*((own,) if others is None else (own, others)))


def _transposed(z):
    return ops.swapaxes(z, -1, -2)


def _after(turn, result):
    """The round's number, once the round before has its `result`: else TensorFlow holds ten rounds at a time.

    Of not a number nothing can be made in any order, so that the number is right wherever it matters.
    """
    first = ops.reshape(result, (-1,))[0]
    return turn + ops.cast(ops.isnan(first), "int32")


class _Ring:
    """The meetings of one call of `log_partition`, which has the arguments."""

    def __init__(self, own, others, padding, temperature):
        self.own, self.others, self.padding, self.temperature = own, others, padding, temperature
        self.count, self.rows = ops.shape(own)[:2]  # k, W
        self.bounded = 1 / temperature <= _BOUND
        self.flat = _transposed(own)  # [k, D, W]
        self.anchors, self.candidates = self._sides(own)
        self.foreigners = None if others is None else self._sides(others)[1]  # [R - 1, k, D', W]
        self.itself = ops.eye(self.rows)

    def _sides(self, z):
        """Anchors `[..., W, D']` and candidates `[..., D', W]`, whose products are logits."""
        left, right = z / self.temperature, z
        if self.padding is not None:
            # Two columns more keep the padding out of every sum, at no price per pair.
            far = ops.broadcast_to(-FAR * self.padding[..., None], (*ops.shape(z)[:-1], 1))
            left = ops.concatenate([left, ops.ones_like(far), far], axis=-1)
            right = ops.concatenate([right, far, ops.ones_like(far)], axis=-1)
        return left, _transposed(right)

    def _at_home(self):
        """Logits within the blocks, `[k, W, W]`, without those of an embedding with itself."""
        return ops.matmul(self.anchors, self.candidates) - FAR * self.itself

    def _logits(self, turn, replica=None):
        """Logits with the blocks `turn` places further on, here or at another replica, `[k, W, W]`."""
        candidates = self.candidates if replica is None else ops.take(self.foreigners, replica, axis=0)
        return ops.matmul(self.anchors, ops.roll(candidates, -turn, axis=0))

    def _rounds(self, meet, begin):
        """Half a turn of the ring, without the meetings at home."""
        if isinstance(self.count, int) and self.count == 1:
            return begin
        return ops.fori_loop(1, self.count // 2 + 1, meet, begin)

    def log_sums(self):
        """What `log_partition` returns."""
        logits = self._at_home()
        partner = ops.roll(self.itself, self.rows // 2, axis=1)
        positive = ops.sum(logits * partner, axis=2)  # [k, W]
        shift = ops.zeros_like(positive) if self.bounded else ops.max(logits, axis=2)
        total = ops.sum(ops.exp(logits if self.bounded else logits - shift[:, :, None]), axis=2)
        state = ops.max(logits - FAR * partner, axis=2), shift, total  # [k, W] each

        def meet(turn, state):
            logits = self._logits(_after(turn, state[2]))
            return self._told(self._told(state, logits, 2, 0), logits, 1, turn)

        def meet_others(i, state):
            i = _after(i, state[2])
            return self._told(state, self._logits(i % self.count, i // self.count), 2, 0)

        state = self._rounds(meet, state)
        if self.others is not None:
            state = ops.fori_loop(0, ops.shape(self.others)[0] * self.count, meet_others, state)
        highest, shift, total = state
        if self.padding is not None:
            total = total + self.padding  # which met nobody; log(0) has no gradient
        return shift + ops.log(total), ops.stop_gradient(highest), ops.stop_gradient(positive)

    def _told(self, state, logits, axis, turn):
        """The state after a meeting: the highest logit, the shift, and the sum of exp(logit - shift), `[k, W]` each.

        Args:
            state: that before.
            logits: `[k, W, W]`.
            axis: of the candidates: 2 for who meets a block further on, 1 for whom it meets.
            turn: how far on the anchors' blocks are.
        """
        highest, shift, total = state
        now = ops.roll(ops.max(logits, axis=axis), turn, axis=0)  # [k, W]
        if not self.bounded:
            higher = ops.maximum(shift, now)
            total = total * ops.exp(shift - higher)
            logits = logits - ops.expand_dims(ops.roll(higher, -turn, axis=0), axis)
            shift = higher
        total = total + ops.roll(ops.sum(ops.exp(logits), axis=axis), turn, axis=0)
        return ops.maximum(highest, now), shift, total

    def gradients(self, log_sum, slope):
        """By `own`, and by `others` where there are any, of the sum of slope * log_sum, `[k, W]` both."""
        slope = slope / self.temperature

        def meet(turn, sums):
            mine, theirs = sums  # [k, W, D], [k, D, W]
            turn = _after(turn, mine)
            pull = self._pull(self._logits(turn), turn, log_sum, slope)
            mine = mine + ops.matmul(pull, ops.roll(self.own, -turn, axis=0))
            return mine, theirs + ops.roll(ops.matmul(self.flat, pull), turn, axis=0)

        def meet_replica(replica, sums):
            mine, everyones = sums

            def meet(turn, sums):
                mine, theirs = sums
                turn = _after(turn, mine)
                pull = ops.exp(self._logits(turn, replica) - log_sum[:, :, None]) * slope[:, :, None]
                mine = mine + ops.matmul(pull, ops.roll(ops.take(self.others, replica, axis=0), -turn, axis=0))
                return mine, theirs + ops.roll(ops.matmul(self.flat, pull), turn, axis=0)

            mine, theirs = ops.fori_loop(0, self.count, meet, (mine, ops.zeros_like(self.flat)))
            here = ops.cast(ops.arange(ops.shape(everyones)[0]) == replica, "float32")[:, None, None, None]
            return mine, everyones + here * _transposed(theirs)

        mine = ops.matmul(self._pull(self._at_home(), 0, log_sum, slope), self.own)
        mine, theirs = self._rounds(meet, (mine, ops.zeros_like(self.flat)))
        mine = mine + _transposed(theirs)
        if self.others is None:
            return mine
        return ops.fori_loop(0, ops.shape(self.others)[0], meet_replica, (mine, ops.zeros_like(self.others)))

    def _pull(self, logits, turn, log_sum, slope):
        """How much the two ends of each pair pull at each other, `[k, W, W]`."""
        if self.bounded:
            scaled = slope * ops.exp(-log_sum)
            return ops.exp(logits) * (scaled[:, :, None] + ops.roll(scaled, -turn, axis=0)[:, None])
        there, theirs = (ops.roll(z, -turn, axis=0)[:, None] for z in (log_sum, slope))  # [k, 1, W] each
        return ops.exp(logits - log_sum[:, :, None]) * slope[:, :, None] + ops.exp(logits - there) * theirs
