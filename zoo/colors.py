"""Color spaces: converts sRGB images to the spaces whose channels papers contrast, in scikit-image's units.

CMC (Tian et al., 2019, https://arxiv.org/abs/1906.05849) contrasts L with ab, or luma with chroma; InfoMin (Tian et
al., 2020, https://arxiv.org/abs/2005.10243) compares the spaces. Views and encoders share these conversions.
"""

import dataclasses
from typing import Any

import numpy as np
from keras import backend, ops

from zoo import checks

# Weights of red, green and blue in the luma of ITU-R BT.601.
LUMA = (0.299, 0.587, 0.114)
# Rows give the channels of affine spaces from red, green and blue. All but XYZ share one luma.
_YUV = (LUMA, (-0.14714119, -0.28886916, 0.43601035), (0.61497538, -0.51496512, -0.10001026))
_YPBPR = (LUMA, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_YDBDR = (LUMA, (-0.45, -0.883, 1.333), (-1.333, 1.116, 0.217))
_YIQ = (LUMA, (0.59590059, -0.27455667, -0.32134392), (0.21153661, -0.52273617, 0.31119955))
# Studio range: luma in [16, 235], chroma in [16, 240].
_YCBCR = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
# From linear light (sRGB, IEC 61966-2-1).
_XYZ = ((0.412453, 0.35758, 0.180423), (0.212671, 0.71516, 0.072169), (0.019334, 0.119193, 0.950227))
# XYZ of the illuminant D65 for the observer of 2 degrees.
_WHITE = (0.95047, 1.0, 1.08883)
# Below this share of the white, Lab and LUV are linear.
_DARK = 0.008856
# Optical density of hematoxylin, eosin and DAB in red, green, blue (Ruifrok & Johnston, 2001).
_STAINS = ((0.65, 0.7, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
_DARKEST = 1e-6


@dataclasses.dataclass(frozen=True)
class Space:
    """Describes a color space.

    Args:
        name: key in `SPACES`.
        channels: names of the three channels.
        mean: values that `normalized` subtracts, in the units of `convert`, one per channel.
        std: values by which `normalized` then divides.
        matrix: for spaces that are affine in red, green and blue, one row of weights per channel; otherwise None.
        offset: values that affine spaces add.
    """

    name: str
    channels: tuple[str, str, str]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...] | None = None
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)


def _affine(name, channels, matrix, offset=(0.0, 0.0, 0.0), mean=None, std=None):
    """Returns an affine space; by default midpoint and half-range over the cube of all colors normalize it."""
    least = np.minimum(matrix, 0).sum(axis=1) + offset
    most = np.maximum(matrix, 0).sum(axis=1) + offset
    mean = mean or tuple(((least + most) / 2).tolist())
    std = std or tuple(((most - least) / 2).tolist())
    return Space(name, channels, mean, std, matrix, offset)


_ALL = (
    # Encoders standardize RGB themselves.
    Space("rgb", ("red", "green", "blue"), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    Space("hsv", ("hue", "saturation", "value"), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    # As published with CMC, https://github.com/HobbitLong/CMC: midpoints and half-ranges.
    Space("lab", ("l", "a", "b"), (50.0, 6.025, -6.6895), (50.0, 92.208, 101.1675)),
    # Midpoint and half-range over the cube of colors.
    Space("luv", ("l", "u", "v"), (50.0, 45.968, -13.349), (50.0, 129.046, 120.748)),
    # As published with CMC.
    _affine(
        "ycbcr",
        ("y", "cb", "cr"),
        _YCBCR,
        (16.0, 128.0, 128.0),
        mean=(116.151, 121.080, 132.342),
        std=(109.5, 111.855, 111.964),
    ),
    # As published with PyContrast, https://github.com/HobbitLong/PyContrast.
    _affine("ydbdr", ("y", "db", "dr"), _YDBDR, mean=(0.457, -0.082, -0.052), std=(0.5, 1.331, 1.333)),
    _affine("yiq", ("y", "i", "q"), _YIQ),
    _affine("yuv", ("y", "u", "v"), _YUV),
    _affine("ypbpr", ("y", "pb", "pr"), _YPBPR),
    # XYZ is affine only in linear light, which fills the same cube and whose black is 0.
    dataclasses.replace(_affine("xyz", ("x", "y", "z"), _XYZ), matrix=None),
    # Half of the largest amount, which lies at a corner of the cube.
    Space("hed", ("hematoxylin", "eosin", "dab"), (0.939, 0.5674, 0.7868), (0.939, 0.5674, 0.7868)),
)
SPACES: dict[str, Space] = {space.name: space for space in _ALL}


def known(space: str) -> Space:
    """Returns the space of this name; the ValueError for other names lists all."""
    checks.one_of("colors", "space", space, SPACES)
    return SPACES[space]


def luma(images: Any, axis: int = -1, weights: tuple = LUMA) -> Any:
    """Returns the luma of red, green and blue, by default that of ITU-R BT.601.

    Args:
        images: tensor or array with three channels along `axis`.
        axis: axis of the channels.
        weights: weights of red, green and blue; integers for integer images.

    Returns:
        The weighted sum, in the shape of the images but with one channel.
    """
    before = (slice(None),) * (axis % len(images.shape))
    red, green, blue = (images[(*before, slice(i, i + 1))] for i in range(3))
    return weights[0] * red + weights[1] * green + weights[2] * blue


def convert(images: Any, space: str) -> Any:
    """Converts colors to another space.

    Args:
        images: sRGB, floats in [0, 1], `[..., 3]`.
        space: a name in `SPACES`.

    Returns:
        Float32 `[..., 3]` in scikit-image's units: hsv, xyz in [0, 1] or slightly above; lab and luv with L in
        [0, 100]; ycbcr with y in [16, 235]; the others with y in [0, 1]. Gradients are finite at every color; that of
        hue is 0 at grays.
    """
    return ops.stack(_channels(images, known(space)), axis=-1)


def normalized(images: Any, space: str, channels: tuple[int, ...] = (0, 1, 2)) -> Any:
    """Converts colors to another space and normalizes them: (`convert` - mean) / std of the space.

    Args:
        images: sRGB, floats in [0, 1], `[..., 3]`.
        space: a name in `SPACES`.
        channels: indices of the channels to keep, in this order.

    Returns:
        Float32 `[..., len(channels)]`, mostly in [-1, 1].
    """
    target = known(space)
    planes = _channels(images, target)
    return ops.stack([(planes[i] - target.mean[i]) * (1 / target.std[i]) for i in channels], axis=-1)


def _channels(images, space):
    """Returns the three channels of the space, `[...]` each.

    Sums of planes are as fast as a product with the matrix, and exact where engines multiply matrices in TF32.
    """
    images = ops.convert_to_tensor(images)
    shape, dtype = tuple(images.shape), backend.standardize_dtype(images.dtype)
    checks.require("float" in dtype, "colors", "floating images in [0, 1]", dtype=dtype)
    checks.require(shape[-1:] == (3,), "colors", "images [..., 3] of red, green, blue", shape=shape)
    images = ops.cast(images, "float32")
    rgb = tuple(images[..., i] for i in range(3))
    if space.matrix is not None:
        return _mixed(space.matrix, rgb, space.offset)
    return _NONLINEAR[space.name](rgb)


def _mixed(matrix, planes, offset=(0.0, 0.0, 0.0)):
    """Returns linear combinations of three planes, one per row of the matrix."""
    return tuple(
        sum(float(weight) * plane for weight, plane in zip(row, planes, strict=True)) + float(added)
        for row, added in zip(matrix, offset, strict=True)
    )


def _hsv(rgb):
    """Returns hue as a share of the circle, in [0, 1), saturation, and value."""
    red, green, blue = rgb
    value = ops.maximum(ops.maximum(red, green), blue)
    chroma = value - ops.minimum(ops.minimum(red, green), blue)
    colored = chroma > 0
    safe = ops.where(colored, chroma, 1.0)
    to_green, to_blue = 2 + (blue - red) / safe, 4 + (red - green) / safe
    sixths = ops.where(value == blue, to_blue, ops.where(value == green, to_green, (green - blue) / safe))
    hue = sixths / 6
    hue = (hue - ops.floor(hue)) * ops.cast(colored, "float32")
    return hue, chroma / ops.where(value > 0, value, 1.0), value


def _power(plane, exponent):
    """Returns the power of positive numbers; several times faster on a CPU than `ops.power`."""
    return ops.exp(exponent * ops.log(plane))


def _xyz(rgb):
    """Returns CIE XYZ with Y = 1 for white."""
    # The branch that is not taken must have a finite gradient, too: hence the argument is clipped to the branch.
    light = [
        ops.where(plane > 0.04045, _power((ops.maximum(plane, 0.04045) + 0.055) / 1.055, 2.4), plane / 12.92)
        for plane in rgb
    ]
    return _mixed(_XYZ, light)


def _cube_root(plane):
    """Returns the cube root, clipped to the branch of lighter colors."""
    return _power(ops.maximum(plane, _DARK), 1 / 3)


def _lab(rgb):
    """Returns CIE 1976 L*a*b*."""
    x, y, z = (
        ops.where(plane > _DARK, _cube_root(plane), 7.787 * plane + 16 / 116)
        for plane in (plane / white for plane, white in zip(_xyz(rgb), _WHITE, strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _luv(rgb):
    """Returns CIE 1976 L*u*v*."""
    x, y, z = _xyz(rgb)
    lightness = ops.where(y > _DARK, 116 * _cube_root(y) - 16, 903.3 * y)
    weights = np.array([1.0, 15.0, 3.0])
    white = weights @ _WHITE
    # u' - u'_white and v' - v'_white share a denominator, so that fewer digits cancel. Black has no chromaticity: any
    # will do, as L = 0.
    rows = np.array([[4.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    u, v = _mixed(rows - np.outer(rows @ _WHITE / white, weights), (x, y, z), (0.0, 0.0))
    scale = 13 * lightness / (x + 15 * y + 3 * z + 1e-9)
    return lightness, scale * u, scale * v


def _hed(rgb):
    """Returns the amounts of the three stains, from optical densities relative to that of a millionth of the light."""
    densities = [ops.log(ops.maximum(plane, _DARKEST)) / float(np.log(_DARKEST)) for plane in rgb]
    amounts = _mixed(np.linalg.inv(_STAINS).T, densities)
    return tuple(ops.maximum(amount, 0.0) for amount in amounts)


_NONLINEAR = {"rgb": tuple, "hsv": _hsv, "lab": _lab, "luv": _luv, "xyz": _xyz, "hed": _hed}
