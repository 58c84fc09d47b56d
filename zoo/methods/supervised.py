"""Supervised cross-entropy with the views and the loop of the other methods: their supervised counterpart.

Zhao et al., 2020, https://arxiv.org/abs/2006.06606, Section 3, compare it with MoCo.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from zoo import checks
from zoo.methods import method, networks
from zoo.models import encoder as encoding
from zoo.models import initial
from zoo.objectives import geometry


class Supervised(method.Method):
    """A classifier of every view of an image.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called with `image_shape`.
        smallest_class: least number of images of a class; a smaller class is refused.
        name: name of the model.
    """

    def __init__(self, encoder: Callable, smallest_class: int = 2, name: str | None = None):
        super().__init__(name)
        checks.integers("Supervised", smallest_class=smallest_class)
        self.make_encoder, self.smallest_class = encoder, smallest_class

    def begin(self, spec: method.Spec) -> None:
        """Makes the encoder and a linear classifier."""
        self.expect_labels(spec, self.smallest_class)
        checks.require(bool(spec.view_shapes), "Supervised", "one or more views", views=0)
        self.expect_views(spec, *(f"view {number}" for number in range(1, len(spec.view_shapes) + 1)))
        self.encoder = self.make_encoder(image_shape=(None, None, spec.view_shapes[0][-1]))
        for shape in spec.view_shapes:
            encoding.check_size("Supervised", self.encoder, shape)
        # The classifier starts at small logits, so that the first loss is about log(classes).
        self.classifier = layers.Dense(
            spec.classes, kernel_initializer=initial.RandomNormal(stddev=0.01), dtype="float32", name="classifier"
        )
        self.classifier.build((None, self.encoder.output_shape[-1]))

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the cross-entropy of every image, the mean over its views; 0 for an image without a label."""
        losses, hits = [], []
        labeled = ops.cast(batch.label >= 0, "float32")  # [B]
        for view in batch.views:
            logits = self.classifier(self.encoder(view, training=True))  # [B, classes]
            target = ops.one_hot(batch.label, logits.shape[-1])  # [B, classes]; 0 without a label
            losses.append(-ops.sum(target * ops.log_softmax(logits, axis=1), axis=1))
            hits.append(labeled * ops.cast(ops.argmax(logits, axis=1) == batch.label, "float32"))
        right, all_labeled = step.replicas.sum([ops.sum(sum(hits)) / len(hits), ops.sum(labeled)])
        return sum(losses) / len(losses), {"accuracy": right / ops.maximum(all_labeled, 1)}, ()

    def watch(self, batch: method.Batch) -> dict[str, Any]:
        """Returns the uniformity and rank of the features as unit vectors, and their alignment if there are views."""
        return geometry.measurements(*(networks.unit(self.encoder(view)) for view in batch.views[:2]))

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the encoder without the classifier."""
        return {"image": self.encoder}
