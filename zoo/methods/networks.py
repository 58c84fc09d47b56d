"""The network that most methods train: an encoder with its projector."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from zoo.models import encoder as encoding


def unit(embeddings: Any) -> Any:
    """Returns embeddings `[B, D]` as unit vectors, float32."""
    return ops.normalize(ops.cast(embeddings, "float32"), axis=-1)


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

    def call(self, images: Any, training: bool = False) -> Any:
        """Returns unit vectors, float32 `[B, D]`."""
        return unit(self.projector(self.encoder(images, training=training), training=training))
