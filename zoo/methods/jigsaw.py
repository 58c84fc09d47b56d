"""PIRL's jigsaw branch, which embeds an image cut into patches (https://arxiv.org/abs/1912.01991, Section 3.2)."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from zoo import checks
from zoo.methods import networks
from zoo.models import encoder as encoding


class PatchEmbedder(keras.layers.Layer):
    """Maps an image cut into patches to a unit vector, `[B, P, h, w, C] -> [B, D]`.

    The patches pass through the encoder as a separate batch, with separate batch statistics.

    Args:
        embedder: network of whole images; the patches use its encoder.
        head: factory of a network `[B, P, F] -> [B, D]`, called with F, D and `patches`, such as `heads.jigsaw`.
        shape: shape of the patches, `(P, h, w, C)`.
        name: name of the layer.
    """

    def __init__(self, embedder: networks.Embedder, head: Callable, shape: tuple, name: str = "patch_embedder"):
        super().__init__(name=name, autocast=False)
        checks.require(len(shape) == 4, "PatchEmbedder", "a view of patches (P, h, w, C)", shape=shape)
        encoding.check_size("PatchEmbedder", embedder.encoder, shape[1:])
        self.encoder = embedder.encoder
        self.head = head(self.encoder.output_shape[-1], embedder.width, patches=shape[0])
        self.built = True

    def call(self, patches: Any, training: bool = False) -> Any:
        """Returns unit vectors, float32 `[B, D]`."""
        count, shape = patches.shape[1], patches.shape[2:]
        features = self.encoder(ops.reshape(patches, (-1, *shape)), training=training)  # [B * P, F]
        features = ops.reshape(features, (-1, count, features.shape[-1]))  # [B, P, F]
        return networks.unit(self.head(features, training=training))


def mixed(image: tuple[Any, dict], patches: tuple[Any, dict], weight: float) -> tuple[Any, dict]:
    """Returns the weighted mean of the two branches' losses `[B]`, and the logs of both.

    Args:
        image: loss `[B]` and logs of whole images.
        patches: loss `[B]` and logs of images cut into patches.
        weight: weight of the patches' loss, in [0, 1].
    """
    (image_loss, logs), (patch_loss, patch_logs) = image, patches
    logs = {**logs, **{f"jigsaw_{name}": value for name, value in patch_logs.items()}}
    return (1 - weight) * image_loss + weight * patch_loss, logs
