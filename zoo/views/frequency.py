"""Low and high frequencies as views: InfoMin (Tian et al., 2020, https://arxiv.org/abs/2005.10243, appendix).

The width of a Gaussian blur divides the content of an image between the two views. At both extremes one of them is
nearly empty.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from keras import ops

from zoo import checks
from zoo.views import blur, geometry, view

# Standard deviations beyond which the weights of a Gaussian are negligible.
_REACH = 4


@dataclasses.dataclass(frozen=True)
class LowPass(view.View):
    """Blurs each image with a Gaussian of fixed width: the first view of InfoMin's pair. Nothing is random.

    The kernel reaches 4 standard deviations to each side, or to the border of smaller images, which are reflected at
    their borders.

    Args:
        sigma: standard deviation in pixels; 0.7 is best in the paper.
    """

    sigma: float = 0.7

    def __post_init__(self):
        checks.positive(type(self).__name__, sigma=self.sigma)

    def apply(self, images: Any, drawn: view.Draw) -> Any:
        """Returns the blurred images."""
        height, width = images.shape[1:3]
        radius = min(math.ceil(_REACH * self.sigma), height - 1, width - 1)
        sigma = np.array([self.sigma], dtype="float32")
        rows, columns = (blur.gaussian_weights(sigma, pixels, radius, "reflect") for pixels in (height, width))
        return ops.clip(geometry.separable(images, rows, columns), 0, 1)


@dataclasses.dataclass(frozen=True)
class HighPass(LowPass):
    """Subtracts from each image what `LowPass` keeps: the second view of InfoMin's pair, in [-1, 1].

    `view.Fork((LowPass(0.7), HighPass(0.7)))` makes both views of the same image.

    Args:
        sigma: standard deviation in pixels; 0.7 is best in the paper.
    """

    final = True

    def apply(self, images: Any, drawn: view.Draw) -> Any:
        """Returns the images minus the blurred images."""
        return images - super().apply(images, drawn)
