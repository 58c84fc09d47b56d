"""MoCo: momentum contrast of every query with the key of its image and a queue of earlier keys.

He et al., 2019, https://arxiv.org/abs/1911.05722; v2: https://arxiv.org/abs/2003.04297
"""

from collections.abc import Callable
from typing import Any

import keras

from zoo import checks, context
from zoo.methods import memory, method, networks
from zoo.models import heads
from zoo.objectives import geometry, info_nce


class MoCo(method.Method):
    """MoCo v1; a head of two layers, temperature 0.2 and stronger augmentation make it v2.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called with `image_shape`.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        temperature: positive; 0.07 in v1, 0.2 in v2.
        queue_size: K, number of keys in the queue.
        momentum: share of the old weights in every update of the key encoder, in [0, 1].
        bn_groups: number of groups that batch norm normalizes separately, and between which keys are shuffled; 8 in
            the paper, one per GPU. With 1, batch statistics reveal which key belongs to a query.
        name: name of the model.
    """

    views: tuple[str, ...] = ("query", "key")
    labeled: bool = False  # whether the queue stores the classes of its keys

    def __init__(
        self,
        encoder: Callable,
        projector: Callable = heads.projector,
        temperature: float = 0.07,
        queue_size: int = 65536,
        momentum: float = 0.999,
        bn_groups: int = 8,
        name: str | None = None,
    ):
        super().__init__(name)
        checks.positive(type(self).__name__, temperature=temperature)
        self.make_encoder, self.make_projector = encoder, projector
        self.temperature, self.queue_size, self.momentum, self.bn_groups = temperature, queue_size, momentum, bn_groups

    def begin(self, spec: method.Spec) -> None:
        """Makes the query encoder, the key encoder and the queue."""
        self.expect_views(spec, *self.views)
        parts, shapes = (self.make_encoder, self.make_projector), spec.view_shapes
        self.query_encoder = networks.Embedder(*parts, shapes[0], name="query_encoder")
        key_network = networks.Embedder(*parts, shapes[1], name="key_encoder")
        self.key_encoder = memory.MomentumEncoder(key_network, self.query_encoder, self.momentum, self.bn_groups)
        self.queue = memory.MomentumQueue(self.queue_size, self.query_encoder.width, self.labeled)
        self.key_encoder.check(spec)
        self.queue.check(spec)

    def embed(self, batch: method.Batch, step: method.Step) -> tuple[Any, Any, Any]:
        """Returns the queries and keys of this replica, `[B, D]` each, and the keys of the global batch, `[N, D]`."""
        with context.using(bn_groups=self.bn_groups):
            query = self.query_encoder(batch.views[0], training=True)
        return query, *self.key_encoder.encode(batch.views[1], step.replicas)

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the InfoNCE loss of every query against its key and the queue."""
        query, key, keys = self.embed(batch, step)
        return *self.against_queue(query, key, batch), self.seen(keys, batch, step)

    def against_queue(self, query: Any, key: Any, batch: method.Batch) -> tuple[Any, dict[str, Any]]:
        """Returns the InfoNCE loss of queries against their keys and the queue, `[B]`, and its logs."""
        negatives, allowed = self.queue.negatives(batch.id)  # [K, D], [B, K]
        return info_nce.against_memory(query, key, negatives, self.temperature, allowed)

    def seen(self, keys: Any, batch: method.Batch, step: method.Step) -> tuple:
        """Returns what the queue keeps of the global batch: keys `[N, D]`, ids and, if it is labeled, classes `[N]`."""
        kept = (batch.id, batch.label) if self.labeled else (batch.id,)
        return keys, *map(step.replicas.gather, kept)

    def remember(self, seen: Any, step: method.Step) -> None:
        """Pushes the keys of the global batch into the queue and moves the key encoder toward the query encoder."""
        self.queue.push(*seen)
        self.key_encoder.update()

    def watch(self, batch: method.Batch) -> dict[str, Any]:
        """Returns the measurements of the query encoder's embeddings, and what batch norm reveals of the keys."""
        query, key = batch.views[:2]
        found = geometry.measurements(self.query_encoder(query), self.query_encoder(key))
        return {**found, **self.key_encoder.leak(self.query_encoder, query, key, self.temperature)}

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the query encoder without its projector."""
        return {"image": self.query_encoder.encoder}
