"""PCL: MoCo whose queries are also drawn to the centers of their clusters, which k-means finds before every epoch.

Li et al., 2020, https://arxiv.org/abs/2005.04966
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from zoo import checks, seeds
from zoo.methods import clustering, memory, method, moco, networks
from zoo.models import heads
from zoo.objectives import proto_nce


class PCL(moco.MoCo):
    """Prototypical contrastive learning v1; MoCo v2's head and augmentation make it v2.

    Args:
        encoder: see `moco.MoCo`.
        projector: see `moco.MoCo`.
        temperature: see `moco.MoCo`; also the mean of the clusters' concentrations.
        queue_size: see `moco.MoCo`.
        momentum: see `moco.MoCo`.
        bn_groups: see `moco.MoCo`.
        clusters: number of clusters of every clustering, each less than the number of images.
        negatives: number of clusters that are drawn as negatives in a step; a clustering of fewer uses all of them.
        warmup_epochs: number of epochs at the start without clusters.
        kmeans: function that clusters embeddings, called as `clustering.kmeans` with the seed as a third argument.
        name: name of the model.
    """

    def __init__(
        self,
        encoder: Callable,
        projector: Callable = heads.projector,
        temperature: float = 0.2,
        queue_size: int = 16384,
        momentum: float = 0.999,
        bn_groups: int = 8,
        clusters: Sequence[int] = (25000, 50000, 100000),
        negatives: int = 16384,
        warmup_epochs: int = 20,
        kmeans: Callable = clustering.kmeans,
        name: str | None = None,
    ):
        super().__init__(encoder, projector, temperature, queue_size, momentum, bn_groups, name)
        checks.sizes("PCL", "clusters", clusters)
        checks.integers("PCL", negatives=negatives)
        checks.integers("PCL", 0, warmup_epochs=warmup_epochs)
        self.clusters, self.drawn, self.warmup_epochs, self.kmeans = tuple(clusters), negatives, warmup_epochs, kmeans

    def begin(self, spec: method.Spec) -> None:
        """Makes the encoders and the queue of MoCo, and room for the clusters."""
        expected = f"`clusters` of fewer clusters than the {len(spec.ids)} images"
        checks.require(max(self.clusters) < len(spec.ids), "PCL", expected, clusters=self.clusters)
        super().begin(spec)
        self.first, self.order = memory.first_id("PCL", spec.ids), np.argsort(spec.ids)
        self.clusterings = [
            clustering.Clusters(len(spec.ids), count, self.query_encoder.width, name=f"clustering{number}")
            for number, count in enumerate(self.clusters)
        ]

    def new_epoch(self, epoch: int, extract: Callable) -> None:
        """Clusters the embeddings of all images by the key encoder (the E-step)."""
        if epoch < self.warmup_epochs:
            return
        embeddings = extract(self.key_encoder.network)  # [n, D]
        for number, clusters in enumerate(self.clusterings):
            centers, cluster = self.kmeans(embeddings, self.clusters[number], number)  # [K, D], [n]
            distances = np.linalg.norm(embeddings - centers[cluster], axis=1)  # [n]
            found = proto_nce.concentrations(distances, cluster, len(centers), self.temperature)  # [K]
            clusters.update(centers, found, cluster[self.order])

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns MoCo's loss, plus the mean of the losses against the clusterings after the warm-up (the M-step)."""
        query, key, keys = self.embed(batch, step)
        loss, logs = self.against_queue(query, key, batch)  # [B]

        def objective(number, count, clusters):
            seed = seeds.Seed(number).fold(step.number)
            drawn = seed.permutation(count)[: self.drawn] if self.drawn < count else None
            return proto_nce.proto_nce(query, *clusters.of(batch.id - self.first), drawn)

        clusterings = zip(range(len(self.clusters)), self.clusters, self.clusterings, strict=True)
        proto_loss, found = networks.averaged(objective, list(clusterings))
        active = ops.cast(step.epoch >= self.warmup_epochs, "float32")
        logs = {**logs, **{name: active * value for name, value in found.items()}}
        return loss + active * proto_loss, logs, self.seen(keys, batch, step)
