"""The state of methods between steps: a queue of keys, a bank of embeddings, a momentum encoder.

The state lives in variables, which checkpoints save. Updates use only values that are equal on all replicas, such as
gathered keys, so that the replicas' copies stay equal. They are made in place, because a bank may take a gigabyte.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo import checks, context, engine, replicas, seeds
from zoo.methods import method


def _generator():
    """Returns a NumPy generator whose seed is drawn the way Keras seeds any initializer."""
    return np.random.default_rng(keras.initializers.RandomNormal().seed)


def _unit_rows(shape, dtype=None):
    """Returns random unit vectors, made by NumPy block by block: an engine would need several times the memory."""
    random = _generator()
    rows = np.empty(shape, dtype or "float32")
    for start in range(0, len(rows), 65536):
        block = random.standard_normal(rows[start : start + 65536].shape, rows.dtype)
        rows[start : start + 65536] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return rows


def unit_columns(shape: Sequence[int], dtype: Any = None) -> np.ndarray:
    """Returns random unit vectors as the columns of a matrix; an initializer."""
    return np.ascontiguousarray(_unit_rows(tuple(shape)[::-1], dtype).T)


def _random_start(shape, dtype=None):
    """Returns a random integer below 2**30, so that counting up from it stays within int32."""
    return np.array(_generator().integers(0, 2**30, shape), dtype or "int32")


def _unknown(shape, dtype):
    return ops.full(shape, -1, dtype)


_LEAK_GROUPS = 16  # groups of batch norm in which leakage is measured

_STATE = {"trainable": False, "autocast": False}


class MomentumQueue(keras.layers.Layer):
    """The keys of recent steps, first in, first out: MoCo's dictionary (https://arxiv.org/abs/1911.05722).

    It starts full of random unit vectors, as in the authors' code, and stores the image of every key, so that a key of
    the query's own image is never a negative.

    Args:
        size: K, number of keys; a multiple of the global batch size.
        width: D.
        labeled: whether the class of every key is stored, too, -1 at the start.
        name: name of the layer.

    Attributes:
        keys: `[K, D]`.
        ids: the images of the keys, int32 `[K]`, -1 at the start.
        labels: the classes of the keys, int32 `[K]`, -1 at the start; None unless `labeled`.
    """

    def __init__(self, size: int, width: int, labeled: bool = False, name: str = "queue"):
        super().__init__(name=name)
        checks.integers("MomentumQueue", size=size, width=width)
        self.size = size
        self.keys = self.add_weight(shape=(size, width), initializer=_unit_rows, name="keys", **_STATE)
        self.ids = self.add_weight(shape=(size,), initializer=_unknown, dtype="int32", name="ids", **_STATE)
        self.pointer = self.add_weight(shape=(), initializer="zeros", dtype="int32", name="pointer", **_STATE)
        self.labels = None
        if labeled:
            self.labels = self.add_weight(shape=(size,), initializer=_unknown, dtype="int32", name="labels", **_STATE)
        self.built = True

    def negatives(self, ids: Any) -> tuple[Any, Any]:
        """Returns the keys `[K, D]`, and whether each key is from another image than a query, bool `[B, K]`.

        Args:
            ids: the queries' images, int32 `[B]`.
        """
        return engine.current().value(self.keys), ids[:, None] != engine.current().value(self.ids)[None]

    def share(self, group: replicas.Replicas) -> tuple[Any, Any]:
        """Returns this replica's share of the keys, and whether each was pushed.

        Args:
            group: the R replicas that share the keys; their number divides K.

        Returns:
            Keys `[K / R, D]`, and bool `[K / R]`, False for a random vector of the start.
        """
        rows = self.size // group.count
        keys, ids = (engine.current().value(stored) for stored in (self.keys, self.ids))
        start = group.index * rows
        return ops.slice(keys, (start, 0), (rows, keys.shape[1])), ops.slice(ids, (start,), (rows,)) >= 0

    def push(self, keys: Any, ids: Any, labels: Any = None) -> None:
        """Replaces the oldest keys.

        Args:
            keys: unit vectors of the global batch, `[N, D]`.
            ids: the keys' images, int32 `[N]`.
            labels: the keys' classes, int32 `[N]`, for a labeled queue.
        """
        start = engine.current().value(self.pointer)
        engine.current().assign_block(self.keys, start, keys)
        engine.current().assign_block(self.ids, start, ids)
        if self.labels is not None:
            engine.current().assign_block(self.labels, start, labels)
        self.pointer.assign((start + keys.shape[0]) % self.size)

    def check(self, spec: method.Spec) -> None:
        """Raises ValueError if the size is not a multiple of the batch, or so large that an image is queued twice."""
        multiple = self.size % spec.batch_size == 0
        expected = f"`size` to be a multiple of the global batch of {spec.batch_size}"
        checks.require(multiple, "MomentumQueue", expected, size=self.size)
        most = (len(spec.ids) - spec.batch_size) // spec.batch_size * spec.batch_size
        expected = (
            f"`size` of at most {most}; with {len(spec.ids)} images and batches of {spec.batch_size}, a longer queue "
            "holds images twice"
        )
        checks.require(self.size <= most, "MomentumQueue", expected, size=self.size)


def first_id(who: str, ids: np.ndarray) -> int:
    """Returns the lowest id of data whose ids are consecutive, so that `id - first` is the row of an image in a table.

    Args:
        who: name of the class that keeps the table.
        ids: ids of all images, integers `[n]` in any order.

    Raises:
        ValueError: there is one image only, or an id is missing or occurs twice.
    """
    ids = np.sort(np.asarray(ids))
    checks.require(len(ids) > 1, who, "two images or more", images=len(ids))
    first, last = int(ids[0]), int(ids[-1])
    expected = "images with consecutive ids, no id twice, as a slice of one data split has them"
    consecutive = len(ids) == last - first + 1 and bool(np.all(np.diff(ids) == 1))
    checks.require(consecutive, who, expected, images=len(ids), first=first, last=last)
    return first


class MemoryBank(keras.layers.Layer):
    """A running average of every image's embeddings (https://arxiv.org/abs/1805.01978, Section 3.1).

    Rows start as random unit vectors.

    Args:
        ids: ids of all images, consecutive integers `[n]` in any order.
        width: D.
        momentum: share of the old embedding in the updated row, in [0, 1]; rows are normalized to unit length.
        name: name of the layer.
    """

    def __init__(self, ids: np.ndarray, width: int, momentum: float = 0.5, name: str = "bank"):
        super().__init__(name=name)
        checks.integers("MemoryBank", width=width)
        checks.fractions("MemoryBank", momentum=momentum)
        self.size, self.first, self.momentum = len(ids), first_id("MemoryBank", ids), momentum
        self.rows = self.add_weight(shape=(self.size, width), initializer=_unit_rows, name="rows", **_STATE)
        # Seeds the draws of a step. Its initial value depends on the run's seed, like that of every weight.
        self.draws = self.add_weight(shape=(), initializer=_random_start, dtype="int32", name="draws", **_STATE)
        self.built = True

    def recall(self, ids: Any) -> Any:
        """Returns the stored embeddings of images, int32 `[B] -> [B, D]`."""
        return engine.current().rows(self.rows, ids - self.first)

    def check_candidates(self, count: int, per_image: bool) -> None:
        """Raises ValueError unless `count` and `per_image` are valid arguments of `candidates`."""
        checks.require(isinstance(per_image, bool), "MemoryBank", "`per_image` to be a bool", per_image=per_image)
        expected = f"`num_candidates` from 1 to the {self.size - 1} other images"
        valid = checks.is_integer(count) and count < self.size
        checks.require(valid, "MemoryBank", expected, num_candidates=count)

    def candidates(self, ids: Any, count: int, per_image: bool = True) -> tuple[Any, Any, Any]:
        """Returns the positives `recall(ids)`, `[B, D]`, followed by the two results of `sample`."""
        return self.recall(ids), *self.sample(ids, count, per_image)

    def sample(self, ids: Any, count: int, per_image: bool = True) -> tuple[Any, Any]:
        """Draws embeddings of other images uniformly with replacement, the same on any number of replicas.

        Args:
            ids: images of the queries, int32 `[B]`.
            count: K, number of draws.
            per_image: whether every query has its own draws, never of its own image. Otherwise the batch shares K
                rows, which reads less memory.

        Returns:
            Embeddings `[B, K, D]` and None with `per_image`; otherwise embeddings `[K, D]`, and whether each is from
            another image than the query, bool `[B, K]`.
        """
        own = ids - self.first  # [B]
        seed = seeds.Seed(0).fold(engine.current().value(self.draws))
        if per_image:
            others = ops.cast(ops.floor(seed.fold(ids).uniform((count,)) * (self.size - 1)), "int32")  # [B, K]
            others = ops.minimum(others, self.size - 2)  # float32 arithmetic may round up to size - 1
            others = others + ops.cast(others >= own[:, None], "int32")
            return engine.current().rows(self.rows, others), None
        others = ops.cast(ops.floor(seed.uniform((count,)) * self.size), "int32")  # [K]
        others = ops.minimum(others, self.size - 1)
        return engine.current().rows(self.rows, others), own[:, None] != others[None]

    def update(self, ids: Any, embeddings: Any) -> None:
        """Moves the rows of images toward their new embeddings.

        Args:
            ids: images of the global batch, int32 `[N]`, all different.
            embeddings: unit vectors, `[N, D]`.
        """
        rows = ids - self.first
        moved = self.momentum * engine.current().rows(self.rows, rows) + (1 - self.momentum) * embeddings
        # Opposite embeddings may cancel out; such a row is 0, equally similar to all, until the image's next visit.
        engine.current().assign_rows(self.rows, rows, ops.normalize(moved, axis=-1))
        self.draws.assign(self.draws + 1)


def visits(step: method.Step) -> dict[str, Any]:
    """Returns the log `bank_visits` of methods with a bank, the number of earlier visits of every image.

    Before the first, the image's row is random.
    """
    return {"bank_visits": ops.cast(step.epoch, "float32")}


class Average:
    """A moving average of a network's weights (https://arxiv.org/abs/1911.05722, Eq. 2).

    It starts as a copy of the weights. Batch statistics are not averaged: every network has its own.

    Args:
        source: trained variables.
        target: variables of the same shapes that hold the average; they become untrainable.
        momentum: share of the old average in the updated one, in [0, 1].
    """

    def __init__(self, source: Sequence, target: Sequence, momentum: float = 0.999):
        checks.fractions("Average", momentum=momentum)
        shapes = [[tuple(variable.shape) for variable in variables] for variables in (source, target)]
        checks.require(
            shapes[0] == shapes[1], "Average", "networks of equal shapes", source=shapes[0], target=shapes[1]
        )
        self.source, self.target, self.momentum = list(source), list(target), momentum
        for slow, fast in zip(self.target, self.source, strict=True):
            slow.trainable = False
            slow.assign(fast)

    def update(self, momentum: Any = None) -> None:
        """Moves the average toward the weights; `momentum`, if given, replaces the constructor's."""
        momentum = self.momentum if momentum is None else momentum
        for slow, fast in zip(self.target, self.source, strict=True):
            slow.assign(momentum * slow + (1 - momentum) * fast)


def cosine_momentum(momentum: float, progress: Any) -> Any:
    """Returns the momentum of an average that rises to 1 along half a cosine, BYOL (Grill et al., 2020), Section 3.2.

    Args:
        momentum: momentum at the start of the run, in [0, 1].
        progress: completed fraction of the run, see `method.Step`.
    """
    return 1 - (1 - momentum) * (ops.cos(np.pi * progress) + 1) / 2


class MomentumEncoder(keras.layers.Layer):
    """MoCo's key encoder: a moving average of the query encoder, with shuffled batch norm (Section 3.3).

    Batch statistics must not reveal which key belongs to a query. Batch norm therefore normalizes `bn_groups` groups
    separately, as if each were on a device of its own, and keys are grouped differently from queries: a group of
    queries consists of consecutive images, and a group of keys takes images from all groups of queries in turn. Groups
    are parts of the global batch, so any number of replicas that divides `bn_groups` computes the same result.

    Args:
        network: the key encoder `[B, H, W, C] -> [B, D]`.
        source: the query encoder, a network of the same shapes.
        momentum: share of the old weights in every update, in [0, 1].
        bn_groups: number of groups of batch norm; 1 disables shuffling.
        name: name of the layer.
    """

    def __init__(self, network: Any, source: Any, momentum: float, bn_groups: int, name: str = "momentum_encoder"):
        super().__init__(name=name)
        checks.integers("MomentumEncoder", bn_groups=bn_groups)
        self.network, self.bn_groups = network, bn_groups
        self.average = Average(source.trainable_variables, network.trainable_variables, momentum)
        self.built = True

    def check(self, spec: method.Spec) -> None:
        """Raises ValueError if the global batch cannot be divided into the groups of batch norm."""
        self._batch_size = spec.batch_size
        groups, replica_count, who = self.bn_groups, spec.replica_count, "MomentumEncoder"
        expected = f"`bn_groups` to be 1 or a multiple of the {replica_count} replicas"
        checks.require(groups == 1 or groups % replica_count == 0, who, expected, bn_groups=groups)
        expected = f"`bn_groups` to divide the global batch of {spec.batch_size} into groups of two or more images"
        fits = spec.batch_size % groups == 0 and spec.batch_size >= 2 * groups
        checks.require(fits, who, expected, bn_groups=groups)

    def encode(self, views: Any, group: replicas.Replicas) -> tuple[Any, Any]:
        """Encodes the keys of the global batch; every replica encodes its share of the shuffled batch.

        Args:
            views: the keys' views on this replica, `[B, H, W, C]`.
            group: the replicas that share the global batch.

        Returns:
            The keys of this replica's images, unit vectors `[B, D]`, and of the global batch, `[N, D]`. No gradient
            flows through them.
        """
        batch = views.shape[0]
        rows = group.index * batch + ops.arange(batch)  # of this replica's images in the global batch, [B]
        order = np.arange(batch * group.count).reshape(self.bn_groups, -1).T.reshape(-1).astype("int32")  # [N]
        if self.bn_groups > 1:
            views = ops.take(group.gather(views), ops.take(order, rows, axis=0), axis=0)
        with context.using(bn_groups=self.bn_groups):
            keys = group.gather(self.network(views, training=True))
        keys = ops.stop_gradient(ops.take(keys, np.argsort(order).astype("int32"), axis=0))  # [N, D]
        return ops.take(keys, rows, axis=0), keys

    def leak(self, source: Any, query_views: Any, key_views: Any, temperature: float) -> dict[str, Any]:
        """Returns how much closer a key is to its query for being normalized as in training; changes no variable.

        The keys are encoded twice: grouped as in training, and apart from their queries, so that a group of keys takes
        images from as many groups of queries as there are. Everything else is equal, so that only what batch
        statistics reveal makes a difference.

        Args:
            source: the query encoder.
            query_views: the queries' views, `[B, H, W, C]`.
            key_views: the keys' views, `[B, H, W, C]`.
            temperature: positive float.

        Returns:
            Log `batch_leak`: the mean logit of the positive among keys as in training, minus that among keys apart; 0
            without leakage. Log `batch_leak_error`: its standard error. Nothing if the images make fewer than 4 groups
            of batch norm.
        """
        size = self._batch_size // self.bn_groups  # images of a group
        # Normalizing one group takes as many operations as a whole batch, so that few must do.
        most = min(query_views.shape[0], max(_LEAK_GROUPS * size, self._batch_size))
        batch = min(self._batch_size, most // size * size)
        count = most // max(batch, 1) * batch
        if count < 4 * size:
            return {}
        rows = np.arange(count)
        trained = rows if self.bn_groups == 1 else rows.reshape(-1, batch // size, size).transpose(0, 2, 1).reshape(-1)
        apart = rows.reshape(-1, size).T.reshape(-1)

        def encoded(network, views, order):
            z = network(ops.take(views, order.astype("int32"), axis=0), training=True)
            return ops.take(z, np.argsort(order).astype("int32"), axis=0)  # [count, D]

        with keras.StatelessScope(), context.using(bn_groups=count // size):
            query = encoded(source, query_views, rows)
            keys = [encoded(self.network, key_views, order) for order in (trained, apart)]
        leaks = ops.sum(query * (keys[0] - keys[1]), axis=1) / temperature  # [count]
        return {"batch_leak": ops.mean(leaks), "batch_leak_error": ops.std(leaks) / count**0.5}

    def update(self) -> None:
        """Moves the key encoder toward the query encoder."""
        self.average.update()
