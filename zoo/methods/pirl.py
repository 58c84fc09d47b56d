"""PIRL: an image and its jigsaw puzzle are both contrasted with a memory bank of images.

Misra & van der Maaten, 2019, https://arxiv.org/abs/1912.01991
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from zoo import checks
from zoo.methods import jigsaw, memory, method, networks
from zoo.models import heads
from zoo.objectives import geometry, info_nce


class PIRL(method.Method):
    """Contrasts a view of every image, and its shuffled patches, with a memory bank.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called with `image_shape`.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        temperature: divides the similarities; positive.
        num_candidates: K, number of other images that each query is compared with.
        bank_momentum: share of the old embedding in the updated row, in [0, 1].
        per_image: whether candidates are drawn separately for every query; otherwise once for the whole batch.
        jigsaw_head: factory of the head of an image cut into patches, such as `heads.jigsaw`.
        jigsaw_weight: weight of the patches' loss, in [0, 1]; the image's loss gets the rest.
        name: name of the model.

    Differs from the paper: a softmax over the candidates, as in PyContrast, replaces noise-contrastive estimation.
    """

    def __init__(
        self,
        encoder: Callable,
        projector: Callable = heads.projector,
        temperature: float = 0.07,
        num_candidates: int = 4096,
        bank_momentum: float = 0.5,
        per_image: bool = True,
        jigsaw_head: Callable = heads.jigsaw,
        jigsaw_weight: float = 0.5,
        name: str | None = None,
    ):
        super().__init__(name)
        checks.positive("PIRL", temperature=temperature)
        checks.fractions("PIRL", jigsaw_weight=jigsaw_weight)
        self.make_encoder, self.make_projector, self.make_jigsaw = encoder, projector, jigsaw_head
        self.temperature, self.num_candidates, self.jigsaw_weight = temperature, num_candidates, jigsaw_weight
        self.bank_momentum, self.per_image = bank_momentum, per_image

    def begin(self, spec: method.Spec) -> None:
        """Makes the encoder, the bank and the head of the patches."""
        self.expect_views(spec, "image", "patches")
        self.embedder = networks.Embedder(self.make_encoder, self.make_projector, spec.view_shapes[0])
        self.bank = memory.MemoryBank(spec.ids, self.embedder.width, self.bank_momentum)
        self.bank.check_candidates(self.num_candidates, self.per_image)
        self.patch_embedder = jigsaw.PatchEmbedder(self.embedder, self.make_jigsaw, spec.view_shapes[1])

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the losses of image and patches against the image's row of the bank and rows of other images."""
        queries = self.embedder(batch.views[0], training=True), self.patch_embedder(batch.views[1], training=True)
        positive, negatives, allowed = self.bank.candidates(batch.id, self.num_candidates, self.per_image)
        losses = [info_nce.against_memory(q, positive, negatives, self.temperature, allowed) for q in queries]  # [B]
        loss, logs = jigsaw.mixed(losses[0], losses[1], self.jigsaw_weight)
        return loss, {**logs, **memory.visits(step)}, (batch.id, queries[0])

    def remember(self, seen: Any, step: method.Step) -> None:
        """Moves the images' rows of the bank toward their new embeddings."""
        ids, query = (step.replicas.gather(rows) for rows in seen)
        self.bank.update(ids, ops.stop_gradient(query))

    def watch(self, batch: method.Batch) -> dict[str, Any]:
        """Returns the uniformity and the rank of the whole images' embeddings."""
        return geometry.measurements(self.embedder(batch.views[0]))

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the encoder without its projector."""
        return {"image": self.embedder.encoder}
