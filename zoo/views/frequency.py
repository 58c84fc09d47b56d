"""Coarse and fine as views: InfoMin (Tian et al., 2020, https://arxiv.org/abs/2005.10243, appendix).

How an image is shared out between the two is a matter of the blur's width: at both ends one view is nearly empty.
"""

import dataclasses
import math

import numpy as np
from keras import ops

from zoo import checks
from zoo.views import blur, geometry, view

# Beyond so many standard deviations a Gaussian is nothing.
_REACH = 4


@dataclasses.dataclass(frozen=True)
class LowPass(view.View):
    """What a Gaussian blur keeps of each image: the first view of InfoMin's pair. Nothing is random.

    The kernel reaches 4 standard deviations to each side, less in images smaller than that, which are reflected at
    their borders.

    Args:
        sigma: standard deviation in pixels; 0.7 is the paper's best.
    """

    sigma: float = 0.7

    def __post_init__(self):
        checks.positive(type(self).__name__, sigma=self.sigma)

    def apply(self, images, drawn):
        """The blurred images."""
        height, width = images.shape[1:3]
        radius = min(math.ceil(_REACH * self.sigma), height - 1, width - 1)
        sigma = np.array([self.sigma], dtype="float32")
        rows, columns = (blur.gaussian_weights(sigma, pixels, radius, "reflect") for pixels in (height, width))
        return ops.clip(geometry.separable(images, rows, columns), 0, 1)


@dataclasses.dataclass(frozen=True)
class HighPass(LowPass):
    """What `LowPass` of the same `sigma` takes away from each image: the second view of InfoMin's pair, in [-1, 1].

    Both of one image: `view.Fork((LowPass(0.7), HighPass(0.7)))`.

    Args:
        sigma: standard deviation in pixels; 0.7 is the paper's best.
    """

    final = True

    def apply(self, images, drawn):
        """Images less their blurred selves."""
        return images - super().apply(images, drawn)
