"""Affine warps of images that agree with the Python Imaging Library (PIL) pixel by pixel.

A warp is a row (a, b, c, d, e, f). The result at (x, y) comes from (a x + b y + c, d x + e y + f) in the image, both in
pixels from the upper left corner, so that the center of the first pixel is at (0.5, 0.5).
"""

from typing import Any

import numpy as np
from keras import ops


def rotation(degrees: Any, height: int, width: int) -> Any:
    """Returns warps that rotate images counterclockwise about their center.

    Args:
        degrees: angles, `[B]`.
        height: height of the images in pixels.
        width: width of the images in pixels.

    Returns:
        `[B, 6]`.
    """
    cosine, sine = ops.cos(degrees * (np.pi / 180)), ops.sin(degrees * (np.pi / 180))
    x, y = width / 2, height / 2
    return ops.stack([cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y], axis=1)


def _linear(part):
    """Returns the weights of two adjacent pixels for a point that lies the fraction `part` between them."""
    return [1 - part, part]


def _cubic(part):
    """Returns the weights of four consecutive pixels for a point that lies the fraction `part` between the middle two.

    PIL's warps use the cubic convolution kernel with a = -1; its resizing, like `geometry.Crop`, uses a = -1/2.
    """
    square = part * part
    cube = square * part
    return [2 * square - part - cube, 1 - 2 * square + cube, part + square - cube, cube - square]


_WEIGHTS = {"bilinear": _linear, "bicubic": _cubic}
INTERPOLATIONS = tuple(_WEIGHTS)


def _taps(place, pixels, interpolation):
    """Returns the pixels of a line that determine its value at a position, and their weights.

    Args:
        place: positions in pixels from the start of the line, `[B, P]`.
        pixels: length of the line, whose end pixels repeat beyond it.
        interpolation: one of `INTERPOLATIONS`.

    Returns:
        List of 2 or 4 pairs (pixel, int32 `[B, P]`; weight `[B, P]`).
    """
    first = ops.floor(place - 0.5)
    weights = _WEIGHTS[interpolation](place - 0.5 - first)
    back = len(weights) // 2 - 1
    pixel = [ops.cast(ops.clip(first + (i - back), 0, pixels - 1), "int32") for i in range(len(weights))]
    return list(zip(pixel, weights, strict=True))


def warped(images: Any, matrix: Any, fill: Any, interpolation: str = "bilinear") -> Any:
    """Warps every image by its own matrix.

    Args:
        images: in [0, 1], `[B, H, W, C]`.
        matrix: warps, `[B, 6]`.
        fill: color of pixels that come from outside of the image, in [0, 1], `[C]`.
        interpolation: `"bilinear"` or `"bicubic"`.

    Returns:
        In [0, 1], `[B, H, W, C]`.
    """
    height, width, channels = images.shape[1:]
    y, x = (np.reshape(half, -1) for half in np.mgrid[:height, :width].astype("float32") + np.float32(0.5))  # [P] each
    a, b, c, d, e, f = (matrix[:, i : i + 1] for i in range(6))  # [B, 1] each
    across, down = a * x + b * y + c, d * x + e * y + f  # [B, P]
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    pixels = ops.reshape(images, (-1, channels))  # [B * P, C]
    start = ops.arange(ops.shape(images)[0], dtype="int32")[:, None] * (height * width)
    columns = _taps(across, width, interpolation)
    result = 0
    for row, row_weight in _taps(down, height, interpolation):
        line = start + width * row  # [B, P]
        across_line = sum(
            weight[..., None] * ops.take(pixels, line + column, axis=0) for column, weight in columns
        )  # [B, P, C]
        result += row_weight[..., None] * across_line
    inside = ops.cast(inside, "float32")[..., None]  # [B, P, 1]
    result = inside * ops.clip(result, 0, 1) + (1 - inside) * np.asarray(fill, "float32")
    return ops.reshape(result, (-1, height, width, channels))
