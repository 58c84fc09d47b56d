"""PIRL: an image and a jigsaw puzzle of it both find the image's embedding in a memory bank.

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
    """A view of every image, and its patches, against a memory bank.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called with `image_shape`.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        temperature: positive.
        num_candidates: K, other images that a query is compared with.
        bank_momentum: share of the old embedding in the new one, in [0, 1].
        per_image: whether every query has candidates of its own, or a batch shares them.
        jigsaw_head: factory of the head of an image cut into patches, such as `heads.jigsaw`.
        jigsaw_weight: share of the patches in the loss, in [0, 1].
        name: of the model.

    Differs from the paper: a softmax over the candidates, as in PyContrast, in place of noise contrast.
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
        self.embedder = networks.Embedder(self.make_encoder, self.make_projector, spec.view_shapes[0][-1])
        self.bank = memory.MemoryBank(spec.ids, self.embedder.width, self.bank_momentum)
        self.bank.check_candidates(self.num_candidates, self.per_image)
        self.patch_embedder = jigsaw.PatchEmbedder(self.embedder, self.make_jigsaw, spec.view_shapes[1])

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Compares the image and its patches with the image's own row of the bank and with rows of other images."""
        image, patches = batch.views
        queries = self.embedder(image, training=True), self.patch_embedder(patches, training=True)  # [B, D] each
        positive, negatives, allowed = self.bank.candidates(batch.id, self.num_candidates, self.per_image)
        image_loss, patch_loss = (
            info_nce.against_memory(query, positive, negatives, self.temperature, allowed) for query in queries
        )
        return *jigsaw.mixed(image_loss, patch_loss, self.jigsaw_weight), (batch.id, queries[0])

    def remember(self, seen: Any, step: method.Step) -> None:
        """Moves the rows of the images."""
        ids, query = (step.replicas.gather(rows) for rows in seen)
        self.bank.update(ids, ops.stop_gradient(query))

    def watch(self, batch: method.Batch) -> dict[str, Any]:
        """Measures uniformity and rank."""
        return geometry.measurements(self.embedder(batch.views[0]))

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the encoder."""
        return {"image": self.embedder.encoder}
