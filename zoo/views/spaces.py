"""Color channels as views: CMC (Tian et al., 2019, https://arxiv.org/abs/1906.05849) contrasts L with ab.

InfoMin (Tian et al., 2020, https://arxiv.org/abs/2005.10243) compares color spaces by the views they make.
"""

import dataclasses
from typing import Any

from zoo import checks, colors
from zoo.views import maps, view


@dataclasses.dataclass(frozen=True)
class Channels(view.View):
    """Keeps some channels of a color space, `[B, H, W, 3] -> [B, H, W, len(channels)]`.

    `view.Fork((Channels("lab", (0,)), Channels("lab", (1, 2))))` makes a view of lightness and a view of chroma. Values
    are normalized as in `zoo.colors.normalized`, so encoders of these views need no mean and std of their own.

    Args:
        space: name of the color space, a key of `zoo.colors.SPACES`.
        channels: indices of the channels to keep, out of 0, 1 and 2; an integer for a single channel.
    """

    space: str
    channels: tuple[int, ...]

    final = True

    def __post_init__(self):
        colors.known(self.space)
        numbers = (self.channels,) if isinstance(self.channels, int) else self.channels
        is_valid = isinstance(numbers, (tuple, list)) and all(type(number) is int for number in numbers)
        is_valid = is_valid and 0 < len(numbers) == len(set(numbers)) and set(numbers) <= {0, 1, 2}
        expected = "`channels` to be a tuple of different integers from 0 to 2"
        checks.require(is_valid, "Channels", expected, channels=self.channels)
        object.__setattr__(self, "channels", tuple(numbers))

    def apply(self, images: Any, drawn: view.Draw) -> Any:
        """Returns the normalized channels, mostly in [-1, 1]."""
        checks.require(images.shape[-1] == 3, "Channels", "images of 3 channels", channels=images.shape[-1])
        return colors.normalized(images, self.space, self.channels)

    def output_shape(self, shape: maps.Shape) -> maps.Shape:
        """Returns `(H, W, len(channels))`."""
        return (*shape[:2], len(self.channels))
