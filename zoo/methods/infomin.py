"""InfoMin: MoCo v2 whose queries are an image and its patches, with views that share little.

Tian et al., 2020, https://arxiv.org/abs/2005.10243; the views are a matter of configuration.
"""

from collections.abc import Callable
from typing import Any

from zoo import checks, context
from zoo.methods import jigsaw, method, moco
from zoo.models import heads


class InfoMin(moco.MoCo):
    """MoCo with PIRL's jigsaw branch (https://arxiv.org/abs/1912.01991).

    Args:
        encoder: as for `moco.MoCo`.
        projector: as for `moco.MoCo`.
        temperature: positive; 0.15 in the paper.
        queue_size: as for `moco.MoCo`.
        momentum: as for `moco.MoCo`.
        bn_groups: as for `moco.MoCo`.
        jigsaw_head: factory of the head of an image cut into patches, such as `heads.jigsaw`.
        jigsaw_weight: share of the patches in the loss, in [0, 1].
        name: of the model.
    """

    views: tuple[str, ...] = ("query", "key", "patches")

    def __init__(
        self,
        encoder: Callable,
        projector: Callable = heads.projector,
        temperature: float = 0.15,
        queue_size: int = 65536,
        momentum: float = 0.999,
        bn_groups: int = 8,
        jigsaw_head: Callable = heads.jigsaw,
        jigsaw_weight: float = 0.5,
        name: str | None = None,
    ):
        super().__init__(encoder, projector, temperature, queue_size, momentum, bn_groups, name)
        checks.fractions("InfoMin", jigsaw_weight=jigsaw_weight)
        self.make_jigsaw, self.jigsaw_weight = jigsaw_head, jigsaw_weight

    def begin(self, spec: method.Spec) -> None:
        """Makes MoCo's parts and the head of the patches."""
        super().begin(spec)
        self.patch_embedder = jigsaw.PatchEmbedder(self.query_encoder, self.make_jigsaw, spec.view_shapes[2])

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Computes InfoNCE of the image and of its patches, both against the key of the image and the queue."""
        query_view, key_view, patches = batch.views
        with context.using(bn_groups=self.bn_groups):
            query = self.query_encoder(query_view, training=True)  # [B, D]
            patch_query = self.patch_embedder(patches, training=True)  # [B, D]
        key, keys = self.key_encoder.encode(key_view, step.replicas)  # [B, D], [N, D]
        image_loss, patch_loss = (self.compare(vectors, key, batch.id) for vectors in (query, patch_query))
        loss, logs = jigsaw.mixed(image_loss, patch_loss, self.jigsaw_weight)
        return loss, logs, (keys, step.replicas.gather(batch.id))
