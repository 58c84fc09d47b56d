"""InsDis: every image is a class of its own, represented by its embedding in a memory bank.

Wu et al., 2018, https://arxiv.org/abs/1805.01978
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from zoo import checks
from zoo.methods import memory, method, nce, networks
from zoo.models import heads
from zoo.objectives import geometry


class InsDis(method.Method):
    """Contrasts one view of every image with a memory bank.

    The positive is the image's row of the bank, an average over earlier epochs that changes smoothly.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called with `image_shape`.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        temperature: divides the similarities; positive.
        num_candidates: K, number of other images that each query is compared with; 4,096 in the paper.
        bank_momentum: share of the old embedding in the updated row, in [0, 1].
        per_image: whether candidates are drawn separately for every query, as in the paper; otherwise once for the
            whole batch, which reads B times fewer rows.
        estimator: factory of the noise-contrastive estimator of the paper, `nce.NCE`; None for a softmax.
        name: name of the model.
    """

    def __init__(
        self,
        encoder: Callable,
        projector: Callable = heads.projector,
        temperature: float = 0.07,
        num_candidates: int = 4096,
        bank_momentum: float = 0.5,
        per_image: bool = True,
        estimator: Callable | None = None,
        name: str | None = None,
    ):
        super().__init__(name)
        checks.positive("InsDis", temperature=temperature)
        self.make_encoder, self.make_projector, self.make_estimator = encoder, projector, estimator
        self.temperature, self.num_candidates = temperature, num_candidates
        self.bank_momentum, self.per_image = bank_momentum, per_image

    def begin(self, spec: method.Spec) -> None:
        """Makes the encoder and a bank with a row for every image."""
        self.expect_views(spec, "image")
        self.embedder = networks.Embedder(self.make_encoder, self.make_projector, spec.view_shapes[0])
        self.bank = memory.MemoryBank(spec.ids, self.embedder.width, self.bank_momentum)
        self.bank.check_candidates(self.num_candidates, self.per_image)
        self.estimator = self.make_estimator and self.make_estimator(population=self.bank.size)

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the loss of every image against its own row of the bank and rows of other images."""
        query = self.embedder(batch.views[0], training=True)  # [B, D]
        candidates = self.bank.candidates(batch.id, self.num_candidates, self.per_image)
        loss, logs, normalizer = nce.contrast(self.estimator, query, *candidates, self.temperature, step.replicas)
        return loss, {**logs, **memory.visits(step)}, (batch.id, query, normalizer)

    def remember(self, seen: Any, step: method.Step) -> None:
        """Moves the images' rows of the bank toward their new embeddings."""
        ids, query, normalizer = seen
        self.bank.update(step.replicas.gather(ids), ops.stop_gradient(step.replicas.gather(query)))
        if self.estimator:
            self.estimator.remember(normalizer)

    def watch(self, batch: method.Batch) -> dict[str, Any]:
        """Returns the uniformity and the rank of the embeddings."""
        return geometry.measurements(self.embedder(batch.views[0]))

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the encoder without its projector."""
        return {"image": self.embedder.encoder}
