"""The network that most methods train: an encoder with its projector."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from zoo import checks
from zoo.models import encoder as encoding


def unit(embeddings: Any) -> Any:
    """Returns embeddings `[B, D]` as unit vectors, float32; zero stays zero, and no gradient flows to it."""
    embeddings = ops.cast(embeddings, "float32")
    square = ops.sum(ops.square(embeddings), axis=-1, keepdims=True)
    # Not `ops.normalize`, whose gradient at zero is not a number: all units of a narrow hidden layer may be off.
    is_small = square < 1e-14
    inverse = ops.where(is_small, 1e7, ops.rsqrt(ops.where(is_small, 1.0, square)))
    return embeddings * ops.where(square == 0, 0.0, inverse)


class Embedder(keras.layers.Layer):
    """An encoder followed by its projector; maps images to unit vectors, `[B, H, W, C] -> [B, D]`.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called with `image_shape`.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        shape: (H, W, C) of the images, which must not be too small for the encoder.
        name: name of the layer.

    Attributes:
        encoder: the network; it takes images of any height and width.
        projector: the head.
        width: D.
    """

    def __init__(self, encoder: Callable, projector: Callable, shape: Sequence[int], name: str = "embedder"):
        super().__init__(name=name, autocast=False)
        self.encoder = encoder(image_shape=(None, None, shape[-1]))
        encoding.check_size("Embedder", self.encoder, shape)
        self.projector = projector(self.encoder.output_shape[-1])
        self.width = self.projector.output_shape[-1]
        self.built = True

    def project(self, images: Any, training: bool = False) -> Any:
        """Returns the projector's output, `[B, D]`, which a predictor takes."""
        return self.projector(self.encoder(images, training=training), training=training)

    def call(self, images: Any, training: bool = False) -> Any:
        """Returns unit vectors, float32 `[B, D]`."""
        return unit(self.project(images, training))


def embedder(
    encoder: Callable, projector: Callable, shapes: Sequence[Sequence[int]], name: str = "embedder"
) -> Embedder:
    """Returns an `Embedder` that takes views of several sizes.

    Args:
        encoder: see `Embedder`.
        projector: see `Embedder`.
        shapes: (H, W, C) of every view.
        name: name of the layer.

    Raises:
        ValueError: a view is too small for the encoder.
    """
    made = Embedder(encoder, projector, shapes[0], name)
    for shape in shapes[1:]:
        encoding.check_size("Embedder", made.encoder, shape)
    return made


def features_by_size(encoder: keras.Model, views: Sequence) -> list[Any]:
    """Returns the features of all views, `[B, F]` each; views of one size pass the encoder as one batch (SwAV).

    Args:
        encoder: network `[B, H, W, C] -> [B, F]`, run in training mode.
        views: V batches of images, `[B, H_v, W_v, C]`.
    """
    features: dict[int, Any] = {}
    sizes = [tuple(view.shape[1:]) for view in views]
    for size in dict.fromkeys(sizes):
        numbers = [number for number, own in enumerate(sizes) if own == size]
        joined = encoder(ops.concatenate([views[number] for number in numbers], axis=0), training=True)
        features.update(zip(numbers, ops.split(joined, len(numbers), axis=0), strict=True))
    return [features[number] for number in range(len(views))]


class Predictor(keras.layers.Layer):
    """A head on top of an `Embedder`, which predicts the embedding of another view (BYOL, SimSiam, MoCo v3).

    Args:
        head: factory of a network `[B, D] -> [B, D]`, called with D, such as `heads.predictor`.
        embedder: the embedder.
        name: name of the layer.
    """

    def __init__(self, head: Callable, embedder: Embedder, name: str = "predictor"):
        super().__init__(name=name, autocast=False)
        self.head = head(embedder.width)
        width = self.head.output_shape[-1]
        checks.require(
            width == embedder.width, "Predictor", f"`predictor` to return vectors of {embedder.width}", width=width
        )
        self.built = True

    def call(self, projected: Any, training: bool = False) -> Any:
        """Returns predictions as unit vectors, projections `[B, D]` -> float32 `[B, D]`."""
        return unit(self.head(projected, training=training))


def across(predicted: Sequence, targets: Sequence) -> list[tuple[Any, Any]]:
    """Returns the pairs of a prediction from a view and the target of another view.

    Two views make the two pairs of the papers. Further predictions, of small crops, are paired with all targets.

    Args:
        predicted: one entry for every view.
        targets: one entry for every view that is a target, which are the first ones.
    """
    return [(p, t) for i, p in enumerate(predicted) for j, t in enumerate(targets) if i != j]


def averaged(objective: Callable, pairs: Sequence[tuple]) -> tuple[Any, dict[str, Any]]:
    """Returns the mean loss and the mean logs of an objective over pairs.

    Args:
        objective: function of the members of a pair, returns a loss `[B]` and logs.
        pairs: one tuple or more.
    """
    losses, logs = zip(*(objective(*pair) for pair in pairs), strict=True)
    return sum(losses) / len(losses), mean_logs(logs)


def mean_logs(logs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns every logged scalar averaged over pairs, which log the same."""
    return {name: sum(pair[name] for pair in logs) / len(logs) for name in logs[0]}
