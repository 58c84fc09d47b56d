"""Views that move pixels: crops of random size, the centre crop, mirror images.

Random resized crops are those of Szegedy et al., 2015, https://arxiv.org/abs/1409.4842
"""

import dataclasses
import functools

import numpy as np
from keras import ops

from zoo import checks
from zoo.views import execution, view

# A crop that does not fit is drawn again, this often: as in torchvision.
_ATTEMPTS = 10


def separable(images, rows, columns):
    """Every image resampled along its height, then along its width.

    Args:
        images: `[B, H, W, C]`.
        rows: weights of the input's rows in each row of the output, `[B, P, H]`.
        columns: weights of the input's columns in each column of the output, `[B, Q, W]`.

    Returns:
        `[B, P, Q, C]`, as exact as the engine multiplies matrices: to about 5e-4 where that means TF32.
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
    """The cubic convolution kernel with a = -1/2 (Keys, 1981)."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return ops.where(distance < 1, near, ops.where(distance < 2, far, 0.0))


_KERNELS = {"bilinear": _triangle, "bicubic": _keys}
_REACH = {"bilinear": 1, "bicubic": 2}  # pixels to each side that count


def interpolation_weights(start, length, inputs, outputs, interpolation="bilinear", antialias=False):
    """How much each input pixel counts in each output pixel, when a segment is cut out and then resized.

    Pixel centres lie at half-integers. Pixels outside of the segment count nothing and the others make up for it, which
    for bilinear weights is the same as repeating the segment's ends.

    Args:
        start: first pixel of the segment, float `[B]`.
        length: pixels in the segment, float `[B]`.
        inputs: pixels of the input.
        outputs: pixels of the output.
        interpolation: `"bilinear"` or `"bicubic"`.
        antialias: whether the kernel widens when the segment shrinks.

    Returns:
        `[B, outputs, inputs]`, each row sums to 1.
    """
    start, length = start[:, None, None], length[:, None, None]  # [B, 1, 1]
    scale = length / outputs
    there = start + (np.arange(outputs, dtype="float32")[:, None] + 0.5) * scale - 0.5  # [B, outputs, 1]
    pixels = np.arange(inputs, dtype="float32")  # [inputs]
    distance = ops.abs(pixels - there)  # [B, outputs, inputs]
    if antialias:
        distance = distance / ops.maximum(scale, 1)
    inside = ops.logical_and(pixels >= start, pixels < start + length)  # [B, 1, inputs]
    weights = ops.where(inside, _KERNELS[interpolation](distance), 0.0)
    return weights / ops.sum(weights, axis=-1, keepdims=True)


def _fetched(images, start, length, outputs, interpolation):
    """What `interpolation_weights` does, not antialiased, along the first axis of every image.

    Each output pixel lies between two or four input pixels: to fetch these costs less than a matrix product.

    Args:
        images: `[B, H, W, C]`.
        start: first pixel of the segment, a whole number, float `[B]`.
        length: pixels in the segment, likewise.
        outputs: pixels of the output, P.
        interpolation: `"bilinear"` or `"bicubic"`.

    Returns:
        `[B, P, W, C]`.
    """
    height, *line = images.shape[1:]
    start, last = start[:, None, None], (start + length)[:, None, None] - 1  # [B, 1, 1]
    there = start + (np.arange(outputs, dtype="float32")[:, None] + 0.5) * (length[:, None, None] / outputs) - 0.5
    reach = _REACH[interpolation]
    pixels = ops.floor(there) + np.arange(1 - reach, 1 + reach, dtype="float32")  # [B, P, 2 * reach]
    inside = ops.logical_and(pixels >= start, pixels <= last)
    weights = ops.where(inside, _KERNELS[interpolation](ops.abs(pixels - there)), 0.0)
    weights = weights / ops.sum(weights, axis=-1, keepdims=True)
    first = height * ops.arange(ops.shape(images)[0], dtype="int32")[:, None, None]  # [B, 1, 1]
    weights, numbers = execution.barrier((weights, first + ops.cast(ops.clip(pixels, 0, height - 1), "int32")))
    rows = ops.reshape(images, (-1, line[0] * line[1]))  # [B * H, W * C]
    parts = [weights[:, :, i, None] * ops.take(rows, numbers[:, :, i], axis=0) for i in range(2 * reach)]
    return ops.reshape(functools.reduce(ops.add, parts), (-1, outputs, *line))


@dataclasses.dataclass(frozen=True)
class _Boxed(view.View):
    """What crops have in common: a drawn box is cut out and resized to `size`."""

    size: int | tuple | None = None

    geometric = True

    def __post_init__(self):
        who = type(self).__name__
        if self.size is not None:
            size = (self.size, self.size) if isinstance(self.size, int) else self.size
            is_valid = isinstance(size, (tuple, list)) and len(size) == 2 and all(map(checks.is_integer, size))
            checks.require(is_valid, who, "`size` to be a positive integer or (height, width)", size=self.size)
            object.__setattr__(self, "size", tuple(size))
        checks.one_of(who, "interpolation", self.interpolation, tuple(_KERNELS))

    def apply(self, images, drawn):
        """Returns the boxes, resized to `[B, *size, C]`."""
        top, left, tall, wide = (drawn["box"][:, i] for i in range(4))  # [B] each
        height, width = images.shape[1:3]
        size = self._size(images.shape[1:])
        if not self.antialias:
            images = _fetched(images, top, tall, size[0], self.interpolation)  # [B, P, W, C]
            images = execution.barrier(ops.transpose(images, (0, 2, 1, 3)))  # [B, W, P, C]
            images = _fetched(images, left, wide, size[1], self.interpolation)  # [B, Q, P, C]
            return ops.clip(ops.transpose(images, (0, 2, 1, 3)), 0, 1)
        how = {"interpolation": self.interpolation, "antialias": self.antialias}
        rows = interpolation_weights(top, tall, height, size[0], **how)  # [B, P, H]
        columns = interpolation_weights(left, wide, width, size[1], **how)  # [B, Q, W]
        images = separable(images, rows, columns)  # [B, P, Q, C]
        # Cubic weights overshoot at edges, rounding does everywhere.
        return ops.clip(images, 0, 1)

    def output_shape(self, shape):
        """Returns `(*size, C)`."""
        return (*self._size(shape), shape[2])

    def _size(self, shape):
        """Returns height and width of the result."""
        return tuple(shape[:2]) if self.size is None else self.size


def _interval(who, name, value, low, high):
    """Checks that `value` is (lowest, highest) within (low, high]."""
    are = isinstance(value, (tuple, list)) and len(value) == 2 and low < value[0] <= value[1] <= high
    checks.require(are, who, f"`{name}` to be (lowest, highest) within ({low}, {high}]", **{name: value})


@dataclasses.dataclass(frozen=True)
class Crop(_Boxed):
    """Cuts out a box of random size, shape and place and resizes it: the random resized crop.

    Ten boxes are drawn, area uniform and aspect log-uniform; the first that fits is placed uniformly. If none fits, the
    largest central box of an admissible aspect is taken.

    Args:
        size: side of the result in pixels, or (height, width); that of the images by default.
        area: least and greatest share of the image's area.
        aspect: least and greatest width / height.
        interpolation: `"bilinear"` or `"bicubic"`.
        antialias: whether to average over the pixels that a shrunk one covers.

    Differs from the paper: SimCLR's sampler draws the aspect uniformly and, given it, the height uniformly, which
    favours small boxes, and tries 100 times; this is torchvision's, like that of MoCo, SwAV and most reproductions.
    """

    area: tuple = (0.08, 1.0)
    aspect: tuple = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    antialias: bool = False

    def __post_init__(self):
        super().__post_init__()
        _interval("Crop", "area", self.area, 0, 1)
        _interval("Crop", "aspect", self.aspect, 0, float("inf"))

    def draw(self, seed, shape):
        """`box` [B, 4], float32: top, left, height, width, whole numbers of pixels."""
        height, width = shape[:2]
        unit = seed.uniform((2 * _ATTEMPTS + 2,))  # [B, 22]
        low, high = (float(np.log(aspect)) for aspect in self.aspect)
        area = self.area[0] + (self.area[1] - self.area[0]) * unit[:, :_ATTEMPTS]  # [B, 10]
        aspect = ops.exp(low + (high - low) * unit[:, _ATTEMPTS : 2 * _ATTEMPTS])  # [B, 10]
        tall = ops.round(ops.sqrt(height * width * area / aspect))
        wide = ops.round(ops.sqrt(height * width * area * aspect))
        # The fallback stands last and always fits: the first box that fits is the one to take.
        last = np.array(self._fallback(height, width), dtype="float32")
        aside = ops.zeros_like(tall[:, :1])
        tall = ops.concatenate([tall, aside + last[0]], axis=1)  # [B, 11]
        wide = ops.concatenate([wide, aside + last[1]], axis=1)
        fits = (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)  # [B, 11]
        # Ranked, because which of several equal maxima is found may differ between devices.
        first = ops.argmax(ops.where(fits, np.arange(_ATTEMPTS + 1, 0, -1), 0), axis=1)[:, None]  # [B, 1]
        tall = ops.take_along_axis(tall, first, axis=1)[:, 0]  # [B]
        wide = ops.take_along_axis(wide, first, axis=1)[:, 0]
        centred = first[:, 0] == _ATTEMPTS
        top = ops.where(centred, (height - last[0]) // 2, ops.floor(unit[:, -2] * (height - tall + 1)))
        left = ops.where(centred, (width - last[1]) // 2, ops.floor(unit[:, -1] * (width - wide + 1)))
        return {"box": ops.stack([top, left, tall, wide], axis=1)}

    def _fallback(self, height, width):
        """Height and width of the largest box of an admissible aspect."""
        if width < self.aspect[0] * height:
            return min(round(width / self.aspect[0]), height), width
        if width > self.aspect[1] * height:
            return height, min(round(height * self.aspect[1]), width)
        return height, width


@dataclasses.dataclass(frozen=True)
class CenterCrop(_Boxed):
    """Cuts out the central box of the result's aspect and resizes it: what models are judged on; nothing is random.

    Args:
        size: side of the result in pixels, or (height, width); that of the images by default.
        proportion: of the largest such box, in (0, 1]. 1 only resizes, if the aspects agree.
        interpolation: `"bilinear"` or `"bicubic"`.
        antialias: whether to average over the pixels that a shrunk one covers.
    """

    proportion: float = 0.875
    interpolation: str = "bilinear"
    antialias: bool = False

    def __post_init__(self):
        super().__post_init__()
        checks.require(0 < self.proportion <= 1, "CenterCrop", "`proportion` in (0, 1]", proportion=self.proportion)

    def draw(self, seed, shape):
        """`box` [B, 4], float32: the same for every image."""
        height, width = shape[:2]
        size = self._size(shape)
        ratio = self.proportion * min(height / size[0], width / size[1])
        tall, wide = max(round(ratio * size[0]), 1), max(round(ratio * size[1]), 1)
        box = np.array([(height - tall) // 2, (width - wide) // 2, tall, wide], dtype="float32")
        return {"box": ops.tile(box[None], (ops.shape(seed.key[0])[0], 1))}


@dataclasses.dataclass(frozen=True)
class Flip(view.View):
    """Mirrors left and right.

    Args:
        probability: in [0, 1], per image.
    """

    probability: float = 0.5

    geometric = True

    def __post_init__(self):
        checks.fractions("Flip", probability=self.probability)

    def draw(self, seed, shape):
        """`flipped` [B], bool."""
        return {"flipped": seed.bernoulli(self.probability)}

    def apply(self, images, drawn):
        """The mirror image where it was drawn."""
        return execution.changed(drawn["flipped"], lambda images: ops.flip(images, axis=2), images)
