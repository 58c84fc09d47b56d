"""Colour spaces as a layer, so that an encoder of luma, or of chroma, takes images like any other."""

import keras
from keras import ops

from zoo import colors
from zoo.models import checks


@keras.saving.register_keras_serializable(package="zoo")
class Convert(keras.layers.Layer):
    """Some channels of a colour space, normalised as published, `[B, H, W, 3] -> [B, H, W, c]`.

    Args:
        space: name of a colour space, see `zoo.colors.SPACES`; "rgb" converts nothing, and then any channels will do.
        channels: which channels are kept; all by default.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, space="rgb", channels=None, **kwargs):
        # As in Standardize: pixels stay float32.
        super().__init__(autocast=False, **kwargs)
        checks.choice("Convert", "space", space, tuple(colors.SPACES))
        self.space = space
        self.channels = None if channels is None else tuple(channels)
        kept = self.channels or ()
        are = all(type(channel) is int and channel >= 0 for channel in kept) and len(set(kept)) == len(kept)
        if self.channels == () or not are:
            raise ValueError(
                f"Convert: expected one or more different channel numbers. Received: channels={channels!r}."
            )

    def build(self, input_shape):
        """Checks that the channels are there."""
        given = input_shape[-1]
        if self.space != "rgb" and given != 3:
            raise ValueError(f"Convert: expected images of 3 channels for {self.space}. Received: {given} channels.")
        if self.channels and max(self.channels) >= given:
            raise ValueError(f"Convert: expected channels below {given}. Received: channels={self.channels}.")

    def call(self, images):
        """Images in [0, 1], `[B, H, W, C] -> [B, H, W, c]`."""
        if self.space != "rgb":
            images = colors.normalized(ops.cast(images, "float32"), self.space)
        if self.channels is None:
            return images
        return ops.concatenate([images[..., channel : channel + 1] for channel in self.channels], axis=-1)

    def compute_output_shape(self, input_shape):
        """The shape of what is kept."""
        return (*input_shape[:-1], len(self.channels) if self.channels else input_shape[-1])

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "space": self.space, "channels": self.channels and list(self.channels)}
