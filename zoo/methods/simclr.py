"""SimCLR: two views of an image agree, against every other image in the batch.

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
    """SimCLR v1, and v2 by its head: three layers deep, of which fine-tuning keeps the first.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called with `image_shape`.
        projector: factory of a head `[B, F] -> [B, D]`, called with F; discarded after training.
        temperature: positive; 0.1 on ImageNet, 0.5 on CIFAR-10 (v1, Appendix B.9).
        kept_layers: hidden layers of the head that stay with the features that are judged and exported: 0 in v1, 1 in
            v2 (Section 2: "fine-tuning from a middle layer of the projection head").
        name: of the model.
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
        checks.positive("SimCLR", temperature=temperature)
        self.make_encoder, self.make_projector = encoder, projector
        self.temperature, self.kept_layers = temperature, kept_layers

    def begin(self, spec: method.Spec) -> None:
        """Makes the encoder and its head, for two views."""
        self.expect_views(spec, "first view", "second view")
        shapes = spec.view_shapes
        checks.require(shapes[0] == shapes[1], "SimCLR", "two views of one shape", view_shapes=shapes)
        self.embedder = networks.Embedder(self.make_encoder, self.make_projector, spec.view_shapes[0][-1])
        if self.kept_layers:
            heads.kept(self.embedder.encoder, self.embedder.projector, self.kept_layers)  # refuses a wrong number

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Computes NT-Xent; both views pass the encoder together, so that batch norm sees them as one batch."""
        both = self.embedder(ops.concatenate(batch.views, axis=0), training=True)  # [2B, D]
        first, second = ops.split(both, 2, axis=0)  # [B, D] each
        return *info_nce.nt_xent(first, second, self.temperature, step.replicas), ()

    def watch(self, batch: method.Batch) -> dict[str, Any]:
        """Measures alignment, uniformity and rank."""
        return geometry.measurements(*(self.embedder(view) for view in batch.views))

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the encoder, with the kept layers of the head."""
        encoder, projector = self.embedder.encoder, self.embedder.projector
        return {"image": heads.kept(encoder, projector, self.kept_layers) if self.kept_layers else encoder}
