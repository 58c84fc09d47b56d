"""Where the candidates of a query come from: the keys of a slow encoder, or what was remembered of every image.

A dictionary serves the M towers of `multiview.Multiview`, one list entry each. It is called twice a step: `recall`
before the loss, `remember` after the update.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from zoo import context
from zoo.methods import memory


@dataclasses.dataclass(frozen=True)
class Candidates:
    """What the queries of a batch are compared with.

    Args:
        positive: unit vectors, `[B, D]`.
        negatives: unit vectors, `[K, D]`, or each query's own `[B, K, D]`.
        allowed: bool `[B, K]`, or None where all are.
    """

    positive: object
    negatives: object
    allowed: object = None


class Momentum(keras.layers.Layer):
    """MoCo: a queue of the keys of a momentum encoder (He et al., 2019, https://arxiv.org/abs/1911.05722).

    Batch norm must not tell the query which key comes from its own batch. Hence batches are normalised in `splits`
    groups, as if on so many devices, and keys are shuffled among the groups (Section 3.3, shuffling BN): a group of
    queries is images in a row, a group of keys is dealt out, an image from each group of queries in turn. Groups are
    parts of the global batch, so any number of replicas that divides `splits` computes the same.

    Args:
        towers: the M trained networks `[B, H, W, C] -> [B, D]`.
        fresh: function that makes one more list of such networks.
        size: K, length of the queue: 65,536 on ImageNet.
        momentum: of the average that encodes the keys.
        splits: groups of batch norm, 8 in the paper (GPUs) and in its authors' single-GPU demonstration; 1 leaks.
        name: of the layer.
    """

    views_of_keys = True

    def __init__(self, towers, fresh, size=65536, momentum=0.999, splits=8, name="momentum"):
        super().__init__(name=name)
        if isinstance(splits, bool) or not isinstance(splits, int) or splits < 1:
            raise ValueError(f"Momentum: expected `splits` to be a positive integer. Received: splits={splits!r}.")
        self.splits = splits
        self.key_towers = fresh()
        self.queues = [memory.Queue(size, tower.width, name=f"queue{i}") for i, tower in enumerate(towers)]
        pairs = zip(towers, self.key_towers, strict=True)
        self.averages = [
            memory.Average(mine.trainable_variables, theirs.trainable_variables, momentum) for mine, theirs in pairs
        ]
        self.population = size
        self.built = True

    def begin(self):
        """The key encoders begin as the towers."""
        for average in self.averages:
            average.begin()

    def check(self, ids, batch_size, replica_count=1):
        """Refuses queues and groups that do not fit the data or the replicas, see `memory.Queue.check`."""
        if self.splits > 1 and self.splits % replica_count:
            raise ValueError(
                f"Momentum: expected `splits` to be 1 or a multiple of the {replica_count} replicas; bind "
                f"`dictionaries.Momentum.splits`. Received: splits={self.splits}."
            )
        if batch_size % self.splits or batch_size < 2 * self.splits:
            raise ValueError(
                f"Momentum: expected `splits` to divide the global batch of {batch_size} into groups of two or more, "
                "better of eight or more; bind `dictionaries.Momentum.splits`. Received: "
                f"splits={self.splits}."
            )
        for queue in self.queues:
            queue.check(ids, batch_size)

    def recall(self, key_views, ids, replicas):
        """Encodes the keys of a batch.

        Args:
            key_views: M image batches, `[B, H, W, C]`.
            ids: of the images, int32 `[B]`.
            replicas: see `zoo.replicas`.

        Returns:
            M `Candidates`, the image's own key against the queue; and for `remember`: M of the keys of all replicas,
            `[N, D]`, and the ids of their images.
        """
        images = replicas.gather(ids)  # [N]
        keys = [self._encoded(*pair, replicas) for pair in zip(self.key_towers, key_views, strict=True)]  # [N, D] each
        batch = ids.shape[0]
        rows = replicas.index * batch + ops.arange(batch)
        candidates = [
            Candidates(ops.take(key, rows, axis=0), *queue.candidates(ids))
            for key, queue in zip(keys, self.queues, strict=True)
        ]
        return candidates, (keys, images)

    def _encoded(self, tower, views, replicas):
        """Keys of the global batch, `[B, H, W, C] -> [N, D]`; each replica encodes a share of the shuffled images."""
        batch = views.shape[0]
        order = np.arange(batch * replicas.count).reshape(self.splits, -1).T.reshape(-1).astype("int32")  # [N]
        if self.splits > 1:
            mine = ops.take(order, replicas.index * batch + ops.arange(batch), axis=0)  # [B]
            views = ops.take(replicas.gather(views), mine, axis=0)
        with context.using(bn_groups=self.splits):
            keys = replicas.gather(tower(views, training=True))
        return ops.stop_gradient(ops.take(keys, np.argsort(order).astype("int32"), axis=0))

    def remember(self, seen, features, ids, replicas):
        """Enters the step's keys, `seen` in `recall`, into the queues and moves the key encoders."""
        del features, ids, replicas
        keys, images = seen
        for queue, key in zip(self.queues, keys, strict=True):
            queue.push(key, images)
        for average in self.averages:
            average.update()


class Instances(keras.layers.Layer):
    """InsDis: a memory bank of every image (Wu et al., 2018, https://arxiv.org/abs/1805.01978); also PIRL's and CMC's.

    The positive is the image's embedding as of its last visit, not the present one: it moves more smoothly.

    Args:
        towers: the M trained networks `[B, H, W, C] -> [B, D]`.
        fresh: not used; dictionaries are made alike.
        size: n, images in the data.
        negatives: K, rows that are drawn.
        momentum: share of the old embedding in the new one.
        per_image: whether each query has negatives of its own, as in the papers, or a batch shares them: B times less
            memory traffic, and as many candidates.
        first: id of the image in row 0.
        name: of the layer.
    """

    views_of_keys = False
    splits = 1

    def __init__(self, towers, fresh, size, negatives=4096, momentum=0.5, per_image=True, first=0, name="instances"):
        super().__init__(name=name)
        del fresh
        if not isinstance(per_image, bool):
            raise ValueError(f"Instances: expected `per_image` to be True or False. Received: per_image={per_image!r}.")
        if isinstance(negatives, bool) or not isinstance(negatives, int) or not 1 <= negatives < size:
            raise ValueError(
                f"Instances: expected `negatives` from 1 to the {size - 1} other images; bind "
                f"`dictionaries.Instances.negatives`. Received: negatives={negatives!r}."
            )
        self.negatives, self.per_image, self.population = negatives, per_image, size
        self.banks = [
            memory.Bank(size, tower.width, momentum, first, name=f"bank{i}") for i, tower in enumerate(towers)
        ]
        self.built = True

    def begin(self):
        """Nothing to do."""

    def check(self, ids, batch_size, replica_count=1):
        """Refuses data other than the bank's, see `memory.Bank.check`."""
        del replica_count
        for bank in self.banks:
            bank.check(ids, batch_size)

    def recall(self, key_views, ids, replicas):
        """M `Candidates`, the image's own row against others, and nothing; arguments as in `Momentum.recall`."""
        del key_views, replicas
        candidates = [
            Candidates(bank.recall(ids), *bank.sample(ids, self.negatives, self.per_image)) for bank in self.banks
        ]
        return candidates, ()

    def remember(self, seen, features, ids, replicas):
        """Moves the rows of the batch's images.

        Args:
            seen: not used.
            features: M of the towers' embeddings, `[B, D]`.
            ids: of the images, int32 `[B]`.
            replicas: see `zoo.replicas`.
        """
        del seen
        images = replicas.gather(ids)
        for bank, feature in zip(self.banks, features, strict=True):
            bank.update(images, ops.stop_gradient(replicas.gather(feature)))
