"""BYOL: a predictor maps the embedding of a view to that of another view by a slowly moving target network.

Grill et al., 2020, https://arxiv.org/abs/2006.07733
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from zoo import checks
from zoo.methods import memory, method, networks
from zoo.models import heads
from zoo.objectives import geometry, regression


class BYOL(method.Method):
    """Bootstrap your own latent: no negatives, a momentum that rises to 1.

    Additional, smaller views are used only for predictions: local crops that predict the targets of both global ones.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called with `image_shape`.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        predictor: factory of a head `[B, D] -> [B, D]`, called with D.
        momentum: share of the old weights in an update of the target at the start, in [0, 1]; it rises to 1 along half
            a cosine. 0.996 for 1,000 epochs in the paper, 0.99 for 300, as in the authors' code.
        name: name of the model.
    """

    def __init__(
        self,
        encoder: Callable,
        projector: Callable = heads.projector,
        predictor: Callable = heads.predictor,
        momentum: float = 0.996,
        name: str | None = None,
    ):
        super().__init__(name)
        checks.fractions(type(self).__name__, momentum=momentum)
        self.make_encoder, self.make_projector, self.make_predictor = encoder, projector, predictor
        self.momentum = momentum

    def begin(self, spec: method.Spec) -> None:
        """Makes the online network with its predictor, and the target network."""
        self.expect_crops(spec)
        parts = self.make_encoder, self.make_projector, spec.view_shapes
        self.online = networks.embedder(*parts, name="online")
        self.target = networks.embedder(*parts, name="target")
        self.predictor = networks.Predictor(self.make_predictor, self.online)
        self.average = memory.Average(self.online.trainable_variables, self.target.trainable_variables)

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the squared distance between predictions and targets, summed over the two directions."""
        predicted = [self.predictor(self.online.project(view, training=True), training=True) for view in batch.views]
        targets = [self.target(view, training=True) for view in batch.views[:2]]
        pairs = networks.across(predicted, targets)
        distance = sum(regression.squared_distance(*pair) for pair in pairs) / len(pairs)  # [B]
        return 2 * distance, {"similarity": 1 - ops.mean(distance) / 2}, ()

    def remember(self, seen: Any, step: method.Step) -> None:
        """Moves the target network toward the online network."""
        self.average.update(memory.cosine_momentum(self.momentum, step.progress))

    def watch(self, batch: method.Batch) -> dict[str, Any]:
        """Returns the alignment, uniformity and rank of the online embeddings."""
        return geometry.measurements(*(self.online(view) for view in batch.views[:2]))

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the online encoder."""
        return {"image": self.online.encoder}
