"""InfoMin: MoCo v2 with a second query from each image's jigsaw puzzle, and views that share little information.

Tian et al., 2020, https://arxiv.org/abs/2005.10243; the configuration chooses the views.
"""

from collections.abc import Callable
from typing import Any

from zoo import checks, context
from zoo.methods import jigsaw, method, moco
from zoo.models import heads


class InfoMin(moco.MoCo):
    """MoCo with PIRL's jigsaw branch (https://arxiv.org/abs/1912.01991).

    Args:
        encoder: see `moco.MoCo`.
        projector: see `moco.MoCo`.
        temperature: positive; 0.15 in the paper.
        queue_size: see `moco.MoCo`.
        momentum: see `moco.MoCo`.
        bn_groups: see `moco.MoCo`.
        jigsaw_head: factory of the head of an image cut into patches, such as `heads.jigsaw`.
        jigsaw_weight: weight of the patches' loss, in [0, 1]; the image's loss gets the rest.
        name: name of the model.
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
        """Makes the networks and the queue of MoCo, and the head of the patches."""
        super().begin(spec)
        self.patch_embedder = jigsaw.PatchEmbedder(self.query_encoder, self.make_jigsaw, spec.view_shapes[2])

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the InfoNCE losses of the image and of its patches, both against the image's key and the queue."""
        query, key, keys = self.embed(batch, step)
        with context.using(bn_groups=self.bn_groups):
            patch_query = self.patch_embedder(batch.views[2], training=True)  # [B, D]
        image_loss, patch_loss = (self.against_queue(embedding, key, batch) for embedding in (query, patch_query))
        return *jigsaw.mixed(image_loss, patch_loss, self.jigsaw_weight), self.seen(keys, batch, step)
