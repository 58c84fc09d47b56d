"""Color spaces as a layer, so that an encoder of luma or of chroma takes RGB images like any other encoder."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from zoo import checks, colors


@keras.saving.register_keras_serializable(package="zoo")
class Convert(keras.layers.Layer):
    """Converts images to a color space and keeps some of its channels, `[B, H, W, 3] -> [B, H, W, c]`.

    The channels are normalized, see `zoo.colors`.

    Args:
        space: name of a color space, one of `zoo.colors.SPACES`. "rgb" converts nothing and takes any number of
            channels.
        channels: numbers of the channels to keep, or None for all.
        **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(self, space: str = "rgb", channels: Sequence[int] | None = None, **kwargs: Any):
        # As in Standardize: pixels stay float32.
        super().__init__(autocast=False, **kwargs)
        checks.one_of("Convert", "space", space, tuple(colors.SPACES))
        self.space = space
        self.channels = None if channels is None else tuple(channels)
        if self.channels is not None:
            valid = self.channels and all(checks.is_integer(channel, least=0) for channel in self.channels)
            valid = valid and len(set(self.channels)) == len(self.channels)
            checks.require(valid, "Convert", "one or more different channel numbers", channels=channels)

    def build(self, input_shape: tuple) -> None:
        """Checks that the images have the channels."""
        given = input_shape[-1]
        expected = f"images of 3 channels for {self.space}"
        checks.require(self.space == "rgb" or given == 3, "Convert", expected, channels=given)
        if self.channels:
            expected = f"channel numbers below {given}"
            checks.require(max(self.channels) < given, "Convert", expected, channels=self.channels)

    def call(self, images: Any) -> Any:
        """Returns the channels of images in [0, 1], `[B, H, W, C] -> [B, H, W, c]`."""
        if self.space != "rgb":
            images = colors.normalized(ops.cast(images, "float32"), self.space)
        if self.channels is None:
            return images
        return ops.concatenate([images[..., channel : channel + 1] for channel in self.channels], axis=-1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the shape of the kept channels."""
        return (*input_shape[:-1], len(self.channels) if self.channels else input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "space": self.space, "channels": self.channels and list(self.channels)}
