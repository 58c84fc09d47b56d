"""SimSiam: a predictor maps the embedding of a view to that of another view by the same network.

Chen and He, 2020, https://arxiv.org/abs/2011.10566
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from zoo.methods import method, networks
from zoo.models import heads
from zoo.objectives import geometry, regression


class SimSiam(method.Method):
    """Siamese networks without negatives or momentum; the gradient stops at the target.

    Additional, smaller views are used only for predictions, as in `byol.BYOL`.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called with `image_shape`.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        predictor: factory of a head `[B, D] -> [B, D]`, called with D.
        name: name of the model.
    """

    def __init__(
        self,
        encoder: Callable,
        projector: Callable = heads.projector,
        predictor: Callable = heads.predictor,
        name: str | None = None,
    ):
        super().__init__(name)
        self.make_encoder, self.make_projector, self.make_predictor = encoder, projector, predictor

    def begin(self, spec: method.Spec) -> None:
        """Makes the network and its predictor."""
        self.expect_crops(spec)
        self.embedder = networks.embedder(self.make_encoder, self.make_projector, spec.view_shapes)
        self.predictor = networks.Predictor(self.make_predictor, self.embedder)

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the negative cosine similarity of predictions and targets, the mean of the two directions."""
        projected = [self.embedder.project(view, training=True) for view in batch.views]
        predicted = [self.predictor(projection, training=True) for projection in projected]
        pairs = networks.across(predicted, [networks.unit(projection) for projection in projected[:2]])
        similarity = 1 - sum(regression.squared_distance(*pair) for pair in pairs) / (2 * len(pairs))  # [B]
        return -similarity, {"similarity": ops.mean(similarity)}, ()

    def watch(self, batch: method.Batch) -> dict[str, Any]:
        """Returns the alignment, uniformity and rank of the embeddings."""
        return geometry.measurements(*(self.embedder(view) for view in batch.views[:2]))

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the encoder."""
        return {"image": self.embedder.encoder}
