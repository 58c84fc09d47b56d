"""Affine warps of images, pixel for pixel those of the Python Imaging Library (PIL): turned, sheared, moved.

Rows (a, b, c, d, e, f) say where a pixel of the result comes from: x' = a x + b y + c, y' = d x + e y + f, in pixels
from the image's upper left corner, so that the first pixel's centre is at (0.5, 0.5).
"""

import numpy as np
from keras import ops


def rotation(degrees, height, width):
    """Turns images counterclockwise about their centre.

    Args:
        degrees: `[B]`.
        height: pixels.
        width: pixels.

    Returns:
        `[B, 6]`.
    """
    cosine, sine = ops.cos(degrees * (np.pi / 180)), ops.sin(degrees * (np.pi / 180))
    x, y = width / 2, height / 2
    return ops.stack([cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y], axis=1)


def _linear(part):
    """Weights of two neighbouring pixels, for a point that lies `part` of the way between them."""
    return [1 - part, part]


def _cubic(part):
    """Weights of four pixels in a row, for a point `part` of the way between the middle two.

    PIL's warps take the cubic convolution kernel with a = -1; its resizing, and `geometry.Crop`, take a = -1/2.
    """
    square = part * part
    cube = square * part
    return [2 * square - part - cube, 1 - 2 * square + cube, part + square - cube, cube - square]


_WEIGHTS = {"bilinear": _linear, "bicubic": _cubic}
INTERPOLATIONS = tuple(_WEIGHTS)


def _taps(place, pixels, interpolation):
    """Which pixels of a line count at each place, and how much.

    Args:
        place: in pixels from the line's start, `[B, P]`.
        pixels: length of the line, whose ends repeat beyond it.
        interpolation: one of `INTERPOLATIONS`.

    Returns:
        List of pairs (int32 `[B, P]`: pixel; `[B, P]`: weight), one for each of 2 or 4 pixels.
    """
    first = ops.floor(place - 0.5)
    weights = _WEIGHTS[interpolation](place - 0.5 - first)
    back = len(weights) // 2 - 1
    pixel = [ops.cast(ops.clip(first + (i - back), 0, pixels - 1), "int32") for i in range(len(weights))]
    return list(zip(pixel, weights, strict=True))


def warped(images, matrix, fill, interpolation="bilinear"):
    """Every image warped by its own matrix.

    Args:
        images: in [0, 1], `[B, H, W, C]`.
        matrix: `[B, 6]`.
        fill: what is seen where a pixel comes from outside of the image, in [0, 1], `[C]`.
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
    for row, its in _taps(down, height, interpolation):
        line = start + width * row  # [B, P]
        result += its[..., None] * sum(w[..., None] * ops.take(pixels, line + at, axis=0) for at, w in columns)
    inside = ops.cast(inside, "float32")[..., None]  # [B, P, 1]
    result = inside * ops.clip(result, 0, 1) + (1 - inside) * np.asarray(fill, "float32")
    return ops.reshape(result, (-1, height, width, channels))
