"""The network that most methods train: an encoder with its projector."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def unit(embeddings: Any) -> Any:
    """Returns embeddings `[B, D]` scaled to unit length, float32."""
    return ops.normalize(ops.cast(embeddings, "float32"), axis=-1)


class Embedder(keras.layers.Layer):
    """An encoder followed by its projector, images to unit vectors, `[B, H, W, C] -> [B, D]`.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called with `image_shape`.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        channels: C.
        name: name of the layer.

    Attributes:
        encoder: the network; it takes images of any height and width.
        projector: the head.
        width: D.
    """

    def __init__(self, encoder: Callable, projector: Callable, channels: int, name: str = "embedder"):
        super().__init__(name=name, autocast=False)
        self.encoder = encoder(image_shape=(None, None, channels))
        self.projector = projector(self.encoder.output_shape[-1])
        self.width = self.projector.output_shape[-1]
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        """Returns unit vectors, float32 `[B, D]`."""
        return unit(self.projector(self.encoder(images, training=training), training=training))
