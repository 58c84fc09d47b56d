"""The Gaussian blur of SimCLR (Chen et al., 2020, https://arxiv.org/abs/2002.05709, Appendix A)."""

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from zoo import checks, context, seeds
from zoo.views import execution, geometry, maps, view


def gaussian_taps(sigma: Any, radius: int) -> Any:
    """Returns a kernel for every standard deviation, `[B] -> [B, 2 * radius + 1]`; the weights of a kernel sum to 1."""
    steps = np.arange(-radius, radius + 1, dtype="float32")
    taps = ops.exp(-np.square(steps) / (2 * ops.square(sigma)[:, None]))
    return taps / ops.sum(taps, axis=1, keepdims=True)


def gaussian_weights(sigma: Any, pixels: int, radius: int, padding: str) -> Any:
    """Returns Gaussian blur along a line of pixels as a band matrix.

    Args:
        sigma: standard deviation in pixels, `[B]`.
        pixels: length of the line, n.
        radius: pixels that the kernel reaches to each side. Its 2 * radius + 1 weights sum to 1.
        padding: values beyond the ends of the line: `"zero"`, or `"reflect"` about the center of the last pixel.

    Returns:
        Weight of each pixel (last axis) in each blurred pixel, `[B, n, n]`.
    """
    steps = np.arange(-radius, radius + 1)
    here = np.arange(pixels)
    there = here[:, None] + steps  # [n, 2 * radius + 1]
    if padding == "reflect":
        there = np.abs(there)
        there = pixels - 1 - np.abs(pixels - 1 - there)
    # hits[t, i, j]: tap t of the kernel at pixel i falls on pixel j.
    hits = (there.T[:, :, None] == here).astype("float32")  # [2 * radius + 1, n, n]
    taps = gaussian_taps(sigma, radius)  # [B, 2 * radius + 1]
    return ops.reshape(ops.matmul(taps, hits.reshape(len(steps), -1)), (-1, pixels, pixels))


def shifted_sum(images: Any, taps: Any, axis: int, padding: str) -> Any:
    """Convolves images along an axis with symmetric kernels, as a sum of shifted images.

    Args:
        images: `[B, H, W, C]`.
        taps: kernels of the images, `[B, 2 * radius + 1]`.
        axis: 1 or 2.
        padding: see `gaussian_weights`.

    Returns:
        `[B, H, W, C]`.
    """
    shape, radius = images.shape[1:], taps.shape[1] // 2
    ends = [(radius, radius) if i == axis else (0, 0) for i in range(4)]
    padded = ops.pad(images, ends, mode="constant" if padding == "zero" else padding)
    # All axes that are contiguous in memory are merged into one, along which shifting is fastest.
    step = shape[2] * (shape[1] if axis == 1 else 1)
    count = shape[axis - 1] * step
    lines = execution.barrier(ops.reshape(padded, (-1, 1 if axis == 1 else shape[0], count + 2 * radius * step)))
    taps = execution.barrier(taps)[:, :, None, None]  # [B, 2 * radius + 1, 1, 1]

    def shifted(i):
        return lines[:, :, i * step : i * step + count]

    total = taps[:, radius] * shifted(radius)
    for i in range(radius):
        total = total + taps[:, i] * (shifted(i) + shifted(2 * radius - i))
    return ops.reshape(total, (-1, *shape))


@dataclasses.dataclass(frozen=True)
class Blur(view.View):
    """Blurs each image with a Gaussian of random width.

    Args:
        sigma: smallest and largest standard deviation in pixels; drawn uniformly for every image.
        fraction: size of the kernel as a fraction of the height of the images. As in the authors' code the size is odd:
            2 * ((height * fraction) // 2) + 1, which is 23 for 224 pixels.
        kernel_size: odd size of the kernel in pixels, which overrides `fraction`.
        padding: `"zero"` (SimCLR; darkens the borders) or `"reflect"` (torchvision).

    Differs from the paper: its code draws one sigma per batch. Here a view depends only on the seed of its image, so
    every image has its own sigma, as in MoCo v2 and BYOL.
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    fraction: float = 0.1
    kernel_size: int | None = None
    padding: str = "zero"

    def __post_init__(self):
        is_valid = isinstance(self.sigma, (tuple, list)) and len(self.sigma) == 2 and 0 < self.sigma[0] <= self.sigma[1]
        checks.require(is_valid, "Blur", "`sigma` to be (smallest, largest) > 0", sigma=self.sigma)
        checks.require(0 < self.fraction <= 1, "Blur", "`fraction` in (0, 1]", fraction=self.fraction)
        size = self.kernel_size
        is_valid = size is None or (checks.is_integer(size) and size % 2 == 1)
        checks.require(is_valid, "Blur", "`kernel_size` to be a positive odd integer or None", kernel_size=size)
        checks.one_of("Blur", "padding", self.padding, ("zero", "reflect"))

    def radius(self, height: int) -> int:
        """Returns how many pixels the kernel reaches to each side."""
        return (int(height * self.fraction + 1e-6) if self.kernel_size is None else self.kernel_size) // 2

    def draw(self, seed: seeds.Seed, shape: maps.Shape) -> view.Draw:
        """Draws `sigma` [B], in pixels."""
        return {"sigma": seed.uniform((), *self.sigma)}

    def apply(self, images: Any, drawn: view.Draw) -> Any:
        """Returns the blurred images."""
        height, width = images.shape[1:3]
        radius = self.radius(height)
        fits = self.padding == "zero" or radius < min(height, width)
        checks.require(
            fits, "Blur", "images larger than the kernel's radius", radius=radius, height=height, width=width
        )
        if context.current().image_by_image:
            taps = gaussian_taps(drawn["sigma"], radius)
            for axis in (1, 2):
                images = shifted_sum(images, taps, axis, self.padding)
            return ops.clip(images, 0, 1)
        # Outside of XLA a sum of many terms is slower than a matrix product.
        rows = gaussian_weights(drawn["sigma"], height, radius, self.padding)  # [B, H, H]
        same = height == width
        columns = rows if same else gaussian_weights(drawn["sigma"], width, radius, self.padding)  # [B, W, W]
        return ops.clip(geometry.separable(images, rows, columns), 0, 1)
