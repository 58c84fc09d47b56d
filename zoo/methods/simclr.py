"""SimCLR: two views of an image are positives; the other images of the batch are negatives.

Chen et al., 2020, https://arxiv.org/abs/2002.05709; v2: https://arxiv.org/abs/2006.10029
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from zoo import checks
from zoo.methods import method, networks
from zoo.models import heads
from zoo.objectives import geometry, info_nce


class SimCLR(method.Method):
    """SimCLR v1; a projector of three layers, the first of which is kept for fine-tuning, makes it v2.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called with `image_shape`.
        projector: factory of a head `[B, F] -> [B, D]`, called with F; discarded after training.
        temperature: divides the similarities; positive; 0.1 on ImageNet, 0.5 on CIFAR-10 (v1, Appendix B.9).
        kept_layers: number of hidden layers of the projector that evaluation and export keep; 0 in v1, 1 in v2
            (v2, Section 2: "fine-tuning from a middle layer of the projection head").
        name: name of the model.
    """

    def __init__(
        self,
        encoder: Callable,
        projector: Callable = heads.projector,
        temperature: float = 0.1,
        kept_layers: int = 0,
        name: str | None = None,
    ):
        super().__init__(name)
        checks.positive(type(self).__name__, temperature=temperature)
        self.make_encoder, self.make_projector = encoder, projector
        self.temperature, self.kept_layers = temperature, kept_layers

    def begin(self, spec: method.Spec) -> None:
        """Makes the encoder and its projector."""
        self.expect_views(spec, "first view", "second view")
        shapes = spec.view_shapes
        checks.require(shapes[0] == shapes[1], type(self).__name__, "two views of one shape", view_shapes=shapes)
        self.embedder = networks.Embedder(self.make_encoder, self.make_projector, spec.view_shapes[0])
        if self.kept_layers:
            heads.kept(self.embedder.encoder, self.embedder.projector, self.kept_layers)  # raises if there are fewer

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the NT-Xent loss; both views pass through the encoder together, as one batch for batch norm."""
        both = self.embedder(ops.concatenate(batch.views, axis=0), training=True)  # [2B, D]
        first, second = ops.split(both, 2, axis=0)  # 2 of [B, D]
        return *self.objective(first, second, batch, step), ()

    def objective(self, first: Any, second: Any, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any]]:
        """Returns the loss of two views' embeddings, unit vectors `[B, D]`, and its logs."""
        return info_nce.nt_xent(first, second, self.temperature, step.replicas)

    def watch(self, batch: method.Batch) -> dict[str, Any]:
        """Returns the alignment, uniformity and rank of the embeddings."""
        return geometry.measurements(*(self.embedder(view) for view in batch.views))

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the encoder, followed by the kept layers of the projector."""
        encoder, projector = self.embedder.encoder, self.embedder.projector
        return {"image": heads.kept(encoder, projector, self.kept_layers) if self.kept_layers else encoder}
