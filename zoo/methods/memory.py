"""What methods remember: a queue of keys, a bank of every image's embedding, a slow average of a network.

Each holds its state in variables that a checkpoint saves. State changes only by values that are equal on all replicas,
gathered keys above all, so that the copies stay equal; and it changes in place, for a bank takes up to a gigabyte.
"""

import keras
import numpy as np
from keras import ops

from zoo import engine, seeds


def _generator():
    """Random numbers of a new seed, as Keras draws seeds for any weight."""
    return np.random.default_rng(keras.initializers.RandomNormal().seed)


def _unit_rows(shape, dtype=None):
    """Random unit vectors, made block by block: the engine would hold several times the memory, and for good."""
    random = _generator()
    rows = np.empty(shape, dtype or "float32")
    for start in range(0, len(rows), 65536):
        block = random.standard_normal(rows[start : start + 65536].shape, rows.dtype)
        rows[start : start + 65536] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return rows


def _any_number(shape, dtype=None):
    """A random non-negative number, half of all there are: counting on from it stays in range for long."""
    random = _generator()
    return np.array(random.integers(0, 2**30, shape), dtype or "int32")


def _positive(who, **sizes):
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{who}: expected `{name}` to be a positive integer. Received: {name}={size!r}.")


def _share(who, name, value):
    if not 0 <= value <= 1:
        raise ValueError(f"{who}: expected `{name}` in [0, 1]. Received: {name}={value!r}.")


class Queue(keras.layers.Layer):
    """The keys of the last steps, first in, first out: MoCo's dictionary (https://arxiv.org/abs/1911.05722).

    Begins full of random unit vectors, as in the authors' code. Remembers the image of each key, so that a query never
    meets its own.

    Args:
        size: K, keys that are kept; a multiple of the global batch.
        width: D.
    """

    def __init__(self, size, width, name="queue"):
        super().__init__(name=name)
        _positive("Queue", size=size, width=width)
        self.size = size
        kept = {"trainable": False, "autocast": False}
        self.keys = self.add_weight(shape=(size, width), initializer=_unit_rows, name="keys", **kept)
        self.ids = self.add_weight(
            shape=(size,),
            initializer=lambda shape, dtype: ops.full(shape, -1, dtype),
            dtype="int32",
            name="ids",
            **kept,
        )
        self.pointer = self.add_weight(shape=(), initializer="zeros", dtype="int32", name="pointer", **kept)
        self.built = True

    def candidates(self, ids):
        """What queries of images `ids`, int32 `[B]`, are compared with: keys `[K, D]` and allowed, bool `[B, K]`."""
        return engine.current().value(self.keys), ids[:, None] != engine.current().value(self.ids)[None]

    def push(self, keys, ids):
        """Enters the keys of a global batch, `[N, D]`, in place of the oldest.

        Args:
            keys: unit vectors of all replicas, `[N, D]`.
            ids: of their images, int32 `[N]`.
        """
        count = keys.shape[0]
        start = engine.current().value(self.pointer)
        engine.current().assign_block(self.keys, start, keys)
        engine.current().assign_block(self.ids, start, ids)
        self.pointer.assign((start + count) % self.size)

    def check(self, ids, batch_size):
        """Refuses data that are too few for the queue, and batches that do not fit into it.

        Args:
            ids: of all images, integers `[n]`.
            batch_size: of the global batch, N.
        """
        if self.size % batch_size:
            raise ValueError(
                f"Queue: expected `size` to be a multiple of the global batch of {batch_size}; bind "
                f"`dictionaries.Momentum.size`. Received: size={self.size}."
            )
        most = (len(ids) - batch_size) // batch_size * batch_size
        if self.size > most:
            remedy = f"bind `dictionaries.Momentum.size = {most}`" if most else "bind a smaller `loop.run.batch_size`"
            raise ValueError(
                f"Queue: expected `size` of at most {most}, what {len(ids)} images leave beside a batch of "
                f"{batch_size}, or it holds images twice; {remedy}. Received: size={self.size}."
            )


class Bank(keras.layers.Layer):
    """One embedding per image, a moving average over the epochs (https://arxiv.org/abs/1805.01978, Section 3.1).

    Begins as random unit vectors.

    Args:
        size: n, images that are remembered.
        width: D.
        momentum: share of the old embedding in the new one, in [0, 1]; then it is normalised.
        first: id of the image in row 0.
    """

    def __init__(self, size, width, momentum=0.5, first=0, name="bank"):
        super().__init__(name=name)
        _positive("Bank", size=size, width=width)
        if size < 2:
            raise ValueError(f"Bank: expected `size` of two or more, for there to be others. Received: size={size}.")
        _share("Bank", "momentum", momentum)
        self.size, self.momentum, self.first = size, momentum, first
        self.rows = self.add_weight(
            shape=(size, width), initializer=_unit_rows, trainable=False, autocast=False, name="rows"
        )
        # Seeds the draws, and is counted up: where it begins depends on the run's seed, as every weight does.
        self.draws = self.add_weight(
            shape=(), initializer=_any_number, dtype="int32", trainable=False, autocast=False, name="draws"
        )
        self.built = True

    def recall(self, ids):
        """The embeddings of images, int32 `[B] -> [B, D]`, as of their last visit."""
        return engine.current().rows(self.rows, ids - self.first)

    def sample(self, ids, count, per_image=True):
        """Embeddings of other images, drawn uniformly with replacement; the same on any number of replicas.

        Args:
            ids: of the queries' images, int32 `[B]`; never among what is drawn for them.
            count: K.
            per_image: whether each query has draws of its own, or all share K rows, for which less memory is touched.

        Returns:
            Embeddings `[B, K, D]` and None, or `[K, D]` and allowed, bool `[B, K]`.
        """
        mine = ids - self.first  # [B]
        seed = seeds.Seed(0).fold(engine.current().value(self.draws))
        if per_image:
            others = ops.cast(ops.floor(seed.fold(ids).uniform((count,)) * (self.size - 1)), "int32")  # [B, K]
            others = ops.minimum(others, self.size - 2)  # a float32 may round up to size - 1
            others = others + ops.cast(others >= mine[:, None], "int32")
            return engine.current().rows(self.rows, others), None
        others = ops.cast(ops.floor(seed.uniform((count,)) * self.size), "int32")  # [K]
        others = ops.minimum(others, self.size - 1)
        return engine.current().rows(self.rows, others), mine[:, None] != others[None]

    def update(self, ids, embeddings):
        """Moves the rows of images towards their new embeddings.

        Args:
            ids: of the global batch, int32 `[N]`, all different.
            embeddings: unit vectors, `[N, D]`.
        """
        rows = ids - self.first
        moved = self.momentum * engine.current().rows(self.rows, rows) + (1 - self.momentum) * embeddings
        # Opposite embeddings may cancel out; such a row stays 0, equally far from all, until the image's next visit.
        engine.current().assign_rows(self.rows, rows, ops.normalize(moved, axis=-1))
        self.draws.assign(self.draws + 1)

    def check(self, ids, batch_size):
        """Refuses data other than the `size` images that the bank has rows for."""
        del batch_size
        ids = np.sort(ids)
        first, last = int(ids[0]), int(ids[-1])
        if not np.array_equal(ids, np.arange(first, last + 1)):
            raise ValueError(
                "Bank: expected images of consecutive numbers, each once, as a split such as `train[:50%]` has them; "
                f"bind `sources.load.split`. Received: {len(ids)} images with numbers from {first} to {last}."
            )
        if (first, len(ids)) != (self.first, self.size):
            raise ValueError(
                f"Bank: expected a row for every image and none besides; bind `dictionaries.Instances.size = "
                f"{len(ids)}` and `dictionaries.Instances.first = {first}`. Received: size={self.size}, "
                f"first={self.first}."
            )


class Average:
    """Keeps a network's parameters a slow average of another's (https://arxiv.org/abs/1911.05722, Eq. 2).

    Parameters only: the statistics of batch norm are each network's own.

    Args:
        source: list of trained variables.
        target: list of as many variables of the same shapes; they are made untrainable.
        momentum: share of the old average in the new one, in [0, 1].
    """

    def __init__(self, source, target, momentum=0.999):
        _share("Average", "momentum", momentum)
        shapes = [[tuple(v.shape) for v in variables] for variables in (source, target)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"Average: expected two networks of equal shapes. Received: {shapes[0]} and {shapes[1]}.")
        self.source, self.target, self.momentum = list(source), list(target), momentum
        for variable in self.target:
            variable.trainable = False

    def begin(self):
        """Makes the average equal to the network."""
        for mine, theirs in zip(self.target, self.source, strict=True):
            mine.assign(theirs)

    def update(self):
        """One step."""
        for mine, theirs in zip(self.target, self.source, strict=True):
            mine.assign(self.momentum * mine + (1 - self.momentum) * theirs)
