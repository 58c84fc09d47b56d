"""Colour channels as views: CMC (Tian et al., 2019, https://arxiv.org/abs/1906.05849) learns from L against ab.

InfoMin (Tian et al., 2020, https://arxiv.org/abs/2005.10243) asks which space makes the better views.
"""

import dataclasses

from zoo import checks, colors
from zoo.views import view


@dataclasses.dataclass(frozen=True)
class Split(view.View):
    """Keeps some channels of a colour space, `[B, H, W, 3] -> [B, H, W, len(channels)]`.

    A view of luma and one of chroma: `view.Fork((Split("lab", (0,)), Split("lab", (1, 2))))`. Values are normalised,
    see `zoo.colors.normalised`: encoders of such views take them with mean 0 and std 1.

    Args:
        space: a name in `zoo.colors.SPACES`.
        channels: numbers of the channels to keep, out of 0, 1, 2.
    """

    space: str
    channels: tuple

    final = True

    def __post_init__(self):
        colors.known(self.space)
        numbers = (self.channels,) if isinstance(self.channels, int) else self.channels
        is_valid = isinstance(numbers, (tuple, list)) and all(type(number) is int for number in numbers)
        is_valid = is_valid and 0 < len(numbers) == len(set(numbers)) and set(numbers) <= {0, 1, 2}
        checks.require(
            is_valid, "Split", "`channels` to be a tuple of different numbers from 0 to 2", channels=self.channels
        )
        object.__setattr__(self, "channels", tuple(numbers))

    def apply(self, images, drawn):
        """The channels, normalised, mostly in [-1, 1]."""
        checks.require(images.shape[-1] == 3, "Split", "images of 3 channels", channels=images.shape[-1])
        return colors.normalised(images, self.space, self.channels)

    def output_shape(self, shape):
        """Returns `(H, W, len(channels))`."""
        return (*shape[:2], len(self.channels))
