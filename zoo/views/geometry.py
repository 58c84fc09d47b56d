"""Views that move pixels: random resized crops, center crops, mirror images.

Random resized crops are those of Szegedy et al., 2015, https://arxiv.org/abs/1409.4842
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from zoo import checks, seeds
from zoo.views import execution, maps, view

# Number of boxes that are drawn to find one that fits, as in torchvision.
_ATTEMPTS = 10


def separable(images: Any, rows: Any, columns: Any) -> Any:
    """Resamples images along their height, then along their width.

    Args:
        images: `[B, H, W, C]`.
        rows: weights of the input's rows in each row of the output, `[B, P, H]`.
        columns: weights of the input's columns in each column of the output, `[B, Q, W]`.

    Returns:
        `[B, P, Q, C]`, with the precision of the engine's matrix products: about 5e-4 in TF32.
    """
    height, width, channels = images.shape[1:]
    tall, wide = rows.shape[1], columns.shape[1]
    images = ops.matmul(rows, ops.reshape(images, (-1, height, width * channels)))  # [B, P, W * C]
    images = ops.transpose(ops.reshape(images, (-1, tall, width, channels)), (0, 2, 1, 3))  # [B, W, P, C]
    images = ops.matmul(columns, ops.reshape(images, (-1, width, tall * channels)))  # [B, Q, P * C]
    return ops.transpose(ops.reshape(images, (-1, wide, tall, channels)), (0, 2, 1, 3))  # [B, P, Q, C]


def _triangle(distance):
    return ops.maximum(1 - distance, 0)


def _keys(distance):
    """Returns the cubic convolution kernel with a = -1/2 (Keys, 1981)."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return ops.where(distance < 1, near, ops.where(distance < 2, far, 0.0))


_KERNELS: dict[str, Callable] = {"bilinear": _triangle, "bicubic": _keys}
_REACH = {"bilinear": 1, "bicubic": 2}  # pixels on each side that have a weight


def interpolation_weights(
    start: Any, length: Any, inputs: int, outputs: int, interpolation: str = "bilinear", antialias: bool = False
) -> Any:
    """Returns the weights by which a segment is cut out of a line of pixels and resized.

    Centers of pixels lie at half-integers. Pixels outside of the segment have no weight, and the weights of the others
    are scaled to sum to 1; for bilinear weights this is the same as repeating the ends of the segment.

    Args:
        start: first pixel of the segment, float `[B]`.
        length: number of pixels in the segment, float `[B]`.
        inputs: number of pixels of the input.
        outputs: number of pixels of the output.
        interpolation: `"bilinear"` or `"bicubic"`.
        antialias: whether the kernel widens when the segment shrinks.

    Returns:
        Weight of each input pixel (last axis) in each output pixel, `[B, outputs, inputs]`.
    """
    start, length = start[:, None, None], length[:, None, None]  # [B, 1, 1]
    scale = length / outputs
    source = start + (np.arange(outputs, dtype="float32")[:, None] + 0.5) * scale - 0.5  # [B, outputs, 1]
    pixels = np.arange(inputs, dtype="float32")  # [inputs]
    distance = ops.abs(pixels - source)  # [B, outputs, inputs]
    if antialias:
        distance = distance / ops.maximum(scale, 1)
    inside = ops.logical_and(pixels >= start, pixels < start + length)  # [B, 1, inputs]
    weights = ops.where(inside, _KERNELS[interpolation](distance), 0.0)
    return weights / ops.sum(weights, axis=-1, keepdims=True)


def _fetched(images, start, length, outputs, interpolation):
    """Cuts out and resizes along the height, with the weights of `interpolation_weights` without antialiasing.

    Each output pixel depends on two or four input pixels, and gathering them costs less than a matrix product.

    Args:
        images: `[B, H, W, C]`.
        start: first pixel of the segment, an integer, as float `[B]`.
        length: number of pixels in the segment, likewise.
        outputs: number of pixels of the output, P.
        interpolation: `"bilinear"` or `"bicubic"`.

    Returns:
        `[B, P, W, C]`.
    """
    height, *line = images.shape[1:]
    start, last = start[:, None, None], (start + length)[:, None, None] - 1  # [B, 1, 1]
    source = start + (np.arange(outputs, dtype="float32")[:, None] + 0.5) * (length[:, None, None] / outputs) - 0.5
    reach = _REACH[interpolation]
    pixels = ops.floor(source) + np.arange(1 - reach, 1 + reach, dtype="float32")  # [B, P, 2 * reach]
    inside = ops.logical_and(pixels >= start, pixels <= last)
    weights = ops.where(inside, _KERNELS[interpolation](ops.abs(pixels - source)), 0.0)
    weights = weights / ops.sum(weights, axis=-1, keepdims=True)
    first = height * ops.arange(ops.shape(images)[0], dtype="int32")[:, None, None]  # [B, 1, 1]
    weights, numbers = execution.barrier((weights, first + ops.cast(ops.clip(pixels, 0, height - 1), "int32")))
    rows = ops.reshape(images, (-1, line[0] * line[1]))  # [B * H, W * C]
    parts = [weights[:, :, i, None] * ops.take(rows, numbers[:, :, i], axis=0) for i in range(2 * reach)]
    return ops.reshape(functools.reduce(ops.add, parts), (-1, outputs, *line))


@dataclasses.dataclass(frozen=True)
class _Boxed(view.View):
    """The base class of crops: cuts out a drawn box and resizes it to `size`."""

    size: int | tuple[int, int] | None = None

    geometric = True
    interpolation = "bilinear"
    antialias = False

    def __post_init__(self):
        who = type(self).__name__
        if self.size is not None:
            size = (self.size, self.size) if isinstance(self.size, int) else self.size
            is_valid = isinstance(size, (tuple, list)) and len(size) == 2 and all(map(checks.is_integer, size))
            checks.require(is_valid, who, "`size` to be a positive integer or (height, width)", size=self.size)
            object.__setattr__(self, "size", tuple(size))
        checks.one_of(who, "interpolation", self.interpolation, tuple(_KERNELS))

    def apply(self, images: Any, drawn: view.Draw) -> Any:
        """Returns the boxes, resized to `[B, *size, C]`."""
        top, left, tall, wide = (drawn["box"][:, i] for i in range(4))  # [B] each
        height, width = images.shape[1:3]
        size = self._size(images.shape[1:])
        if not self.antialias:
            images = _fetched(images, top, tall, size[0], self.interpolation)  # [B, P, W, C]
            images = execution.barrier(ops.transpose(images, (0, 2, 1, 3)))  # [B, W, P, C]
            images = _fetched(images, left, wide, size[1], self.interpolation)  # [B, Q, P, C]
            return ops.clip(ops.transpose(images, (0, 2, 1, 3)), 0, 1)
        rows = interpolation_weights(top, tall, height, size[0], self.interpolation, True)  # [B, P, H]
        columns = interpolation_weights(left, wide, width, size[1], self.interpolation, True)  # [B, Q, W]
        images = separable(images, rows, columns)  # [B, P, Q, C]
        # Cubic weights overshoot at edges; rounding does so everywhere.
        return ops.clip(images, 0, 1)

    def output_shape(self, shape: maps.Shape) -> maps.Shape:
        """Returns `(*size, C)`."""
        return (*self._size(shape), shape[2])

    def _size(self, shape):
        """Returns the height and width of the result."""
        return tuple(shape[:2]) if self.size is None else self.size


def _interval(who, name, value, low, high):
    """Raises ValueError unless `value` is (lowest, highest) within (low, high]."""
    is_valid = isinstance(value, (tuple, list)) and len(value) == 2 and low < value[0] <= value[1] <= high
    checks.require(is_valid, who, f"`{name}` to be (lowest, highest) within ({low}, {high}]", **{name: value})


@dataclasses.dataclass(frozen=True)
class Crop(_Boxed):
    """Cuts out a box of random area, aspect ratio and position and resizes it: the random resized crop.

    Ten boxes are drawn, with uniform area and log-uniform aspect ratio. The first that fits is placed uniformly. If
    none fits, the largest central box of an admissible aspect ratio is taken.

    Args:
        size: side of the result in pixels, or (height, width); by default the size of the images.
        area: smallest and largest fraction of the area of the image.
        aspect: smallest and largest ratio of width to height.
        interpolation: `"bilinear"` or `"bicubic"`.
        antialias: whether to average over all pixels that shrink into one.

    Differs from the paper: SimCLR's sampler draws the aspect ratio uniformly, then the height uniformly, which favors
    small boxes, and tries 100 times. This sampler is torchvision's, as in MoCo, SwAV and most reproductions.
    """

    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    antialias: bool = False

    def __post_init__(self):
        super().__post_init__()
        _interval("Crop", "area", self.area, 0, 1)
        _interval("Crop", "aspect", self.aspect, 0, float("inf"))

    def draw(self, seed: seeds.Seed, shape: maps.Shape) -> view.Draw:
        """Draws `box` [B, 4], float32: top, left, height and width in pixels, all integers."""
        height, width = shape[:2]
        unit = seed.uniform((2 * _ATTEMPTS + 2,))  # [B, 22]
        low, high = (float(np.log(aspect)) for aspect in self.aspect)
        area = self.area[0] + (self.area[1] - self.area[0]) * unit[:, :_ATTEMPTS]  # [B, 10]
        aspect = ops.exp(low + (high - low) * unit[:, _ATTEMPTS : 2 * _ATTEMPTS])  # [B, 10]
        tall = ops.round(ops.sqrt(height * width * area / aspect))
        wide = ops.round(ops.sqrt(height * width * area * aspect))
        # The fallback comes last and always fits, so that there is a first box that fits.
        last = np.array(self._fallback(height, width), dtype="float32")
        zeros = ops.zeros_like(tall[:, :1])
        tall = ops.concatenate([tall, zeros + last[0]], axis=1)  # [B, 11]
        wide = ops.concatenate([wide, zeros + last[1]], axis=1)
        fits = (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)  # [B, 11]
        # Ranked, because devices may differ in which one of several equal maxima they find.
        first = ops.argmax(ops.where(fits, np.arange(_ATTEMPTS + 1, 0, -1), 0), axis=1)[:, None]  # [B, 1]
        tall = ops.take_along_axis(tall, first, axis=1)[:, 0]  # [B]
        wide = ops.take_along_axis(wide, first, axis=1)[:, 0]
        centered = first[:, 0] == _ATTEMPTS
        top = ops.where(centered, (height - last[0]) // 2, ops.floor(unit[:, -2] * (height - tall + 1)))
        left = ops.where(centered, (width - last[1]) // 2, ops.floor(unit[:, -1] * (width - wide + 1)))
        return {"box": ops.stack([top, left, tall, wide], axis=1)}

    def _fallback(self, height, width):
        """Returns the height and width of the largest box of an admissible aspect ratio."""
        if width < self.aspect[0] * height:
            return min(round(width / self.aspect[0]), height), width
        if width > self.aspect[1] * height:
            return height, min(round(height * self.aspect[1]), width)
        return height, width


@dataclasses.dataclass(frozen=True)
class CenterCrop(_Boxed):
    """Cuts out a central box with the aspect ratio of the result and resizes it, as for evaluation. Nothing is random.

    Args:
        size: side of the result in pixels, or (height, width); by default the size of the images.
        proportion: side of the box as a fraction of the side of the largest such box, in (0, 1].
        interpolation: `"bilinear"` or `"bicubic"`.
        antialias: whether to average over all pixels that shrink into one.
    """

    proportion: float = 0.875
    interpolation: str = "bilinear"
    antialias: bool = False

    def __post_init__(self):
        super().__post_init__()
        checks.require(0 < self.proportion <= 1, "CenterCrop", "`proportion` in (0, 1]", proportion=self.proportion)

    def draw(self, seed: seeds.Seed, shape: maps.Shape) -> view.Draw:
        """Returns `box` [B, 4], float32, the same for every image."""
        height, width = shape[:2]
        size = self._size(shape)
        ratio = self.proportion * min(height / size[0], width / size[1])
        tall, wide = max(round(ratio * size[0]), 1), max(round(ratio * size[1]), 1)
        box = np.array([(height - tall) // 2, (width - wide) // 2, tall, wide], dtype="float32")
        return {"box": ops.tile(box[None], (ops.shape(seed.key[0])[0], 1))}


@dataclasses.dataclass(frozen=True)
class Flip(view.View):
    """Mirrors images horizontally with a given probability.

    Maps of vectors, such as surface normals, are mirrored as well, but the vectors themselves keep their direction.

    Args:
        probability: in [0, 1].
    """

    probability: float = 0.5

    geometric = True

    def __post_init__(self):
        checks.fractions("Flip", probability=self.probability)

    def draw(self, seed: seeds.Seed, shape: maps.Shape) -> view.Draw:
        """Draws `flipped` [B], bool."""
        return {"flipped": seed.bernoulli(self.probability)}

    def apply(self, images: Any, drawn: view.Draw) -> Any:
        """Returns the images, mirrored where a flip was drawn."""
        return execution.changed(drawn["flipped"], lambda images: ops.flip(images, axis=2), images)
