"""Colour spaces: sRGB images to the spaces whose channels papers contrast, in scikit-image's units.

CMC (Tian et al., 2019, https://arxiv.org/abs/1906.05849) contrasts L with ab, or luma with chroma; InfoMin (Tian et
al., 2020, https://arxiv.org/abs/2005.10243) compares the spaces. Views and encoders both convert with this.
"""

import dataclasses
import difflib

import numpy as np
from keras import backend, ops

# Rows give the channels of affine spaces from red, green, blue. All but XYZ share one luma (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)
_YUV = (_LUMA, (-0.14714119, -0.28886916, 0.43601035), (0.61497538, -0.51496512, -0.10001026))
_YPBPR = (_LUMA, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_YDBDR = (_LUMA, (-0.45, -0.883, 1.333), (-1.333, 1.116, 0.217))
_YIQ = (_LUMA, (0.59590059, -0.27455667, -0.32134392), (0.21153661, -0.52273617, 0.31119955))
# Studio range: luma in [16, 235], chroma in [16, 240].
_YCBCR = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
# Of linear light (sRGB, IEC 61966-2-1).
_XYZ = ((0.412453, 0.35758, 0.180423), (0.212671, 0.71516, 0.072169), (0.019334, 0.119193, 0.950227))
# XYZ of the illuminant D65 for the observer of 2 degrees.
_WHITE = (0.95047, 1.0, 1.08883)
# Below this share of the white, Lab and LUV are linear.
_DARK = 0.008856
# Optical density of haematoxylin, eosin and DAB in red, green, blue (Ruifrok & Johnston, 2001).
_STAINS = ((0.65, 0.7, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
_DARKEST = 1e-6


@dataclasses.dataclass(frozen=True)
class Space:
    """What is known of a colour space.

    Args:
        name: as in `SPACES`.
        channels: names of the three channels.
        mean: what `normalised` subtracts, in the units of `convert`, one per channel.
        std: what it then divides by.
        matrix: of spaces that are affine in red, green and blue: rows that make the channels of them; else None.
        offset: what affine spaces add to that.
    """

    name: str
    channels: tuple
    mean: tuple
    std: tuple
    matrix: tuple | None = None
    offset: tuple = (0.0, 0.0, 0.0)


def _affine(name, channels, matrix, offset=(0.0, 0.0, 0.0), mean=None, std=None):
    """An affine space; by default normalised by midpoint and half-range over the cube of all colours."""
    least = np.minimum(matrix, 0).sum(axis=1) + offset
    most = np.maximum(matrix, 0).sum(axis=1) + offset
    mean = mean or tuple(((least + most) / 2).tolist())
    std = std or tuple(((most - least) / 2).tolist())
    return Space(name, channels, mean, std, matrix, offset)


_ALL = (
    # Encoders standardise RGB themselves.
    Space("rgb", ("red", "green", "blue"), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    Space("hsv", ("hue", "saturation", "value"), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    # As published with CMC, https://github.com/HobbitLong/CMC: midpoints and half-ranges.
    Space("lab", ("l", "a", "b"), (50.0, 6.025, -6.6895), (50.0, 92.208, 101.1675)),
    # Midpoint and half-range over the cube of colours.
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
    # XYZ is affine in linear light only, which fills the same cube; its black is 0.
    dataclasses.replace(_affine("xyz", ("x", "y", "z"), _XYZ), matrix=None),
    # Half of the greatest amount, which a corner of the cube has.
    Space("hed", ("haematoxylin", "eosin", "dab"), (0.939, 0.5674, 0.7868), (0.939, 0.5674, 0.7868)),
)
SPACES = {space.name: space for space in _ALL}


def known(space):
    """The `Space` of that name, or a `ValueError` that lists the names."""
    if space not in SPACES:
        near = difflib.get_close_matches(str(space).lower(), SPACES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        names = ", ".join(map(repr, SPACES))
        raise ValueError(f"colors: expected `space` to be one of {names}. Received: space={space!r}.{hint}")
    return SPACES[space]


def convert(images, space):
    """Colours in another space.

    Args:
        images: sRGB, floats in [0, 1], `[..., 3]`.
        space: a name in `SPACES`.

    Returns:
        Float32 `[..., 3]` in scikit-image's units: hsv, xyz in [0, 1] or slightly above; lab and luv with L in
        [0, 100]; ycbcr with y in [16, 235]; those left with y in [0, 1]. Gradients are finite at every colour; hue has
        none at greys.
    """
    return ops.stack(_channels(images, known(space)), axis=-1)


def normalised(images, space, channels=(0, 1, 2)):
    """Colours in another space, (`convert` - mean) / std with the space's mean and std.

    Args:
        images: sRGB, floats in [0, 1], `[..., 3]`.
        space: a name in `SPACES`.
        channels: numbers of the channels to keep, in their order.

    Returns:
        Float32 `[..., len(channels)]`, mostly in [-1, 1].
    """
    space = known(space)
    planes = _channels(images, space)
    return ops.stack([(planes[i] - space.mean[i]) * (1 / space.std[i]) for i in channels], axis=-1)


def _channels(images, space):
    """The three channels of the space, `[...]` each.

    Planes and numbers, rather than a product with the matrix: as fast, and exact where engines multiply matrices in
    TF32.
    """
    images = ops.convert_to_tensor(images)
    shape, dtype = tuple(images.shape), backend.standardize_dtype(images.dtype)
    if "float" not in dtype:
        raise ValueError(f"colors: expected floating images in [0, 1]. Received: dtype={dtype!r}.")
    if not shape or shape[-1] != 3:
        raise ValueError(f"colors: expected images [..., 3] of red, green, blue. Received: shape={shape}.")
    images = ops.cast(images, "float32")
    rgb = tuple(images[..., i] for i in range(3))
    if space.matrix is not None:
        return _mixed(space.matrix, rgb, space.offset)
    return _NONLINEAR[space.name](rgb)


def _mixed(matrix, planes, offset=(0.0, 0.0, 0.0)):
    """Linear combinations of three planes, one per row of the matrix."""
    return tuple(
        sum(float(weight) * plane for weight, plane in zip(row, planes, strict=True)) + float(added)
        for row, added in zip(matrix, offset, strict=True)
    )


def _hsv(rgb):
    """Hue as a share of the circle, in [0, 1); saturation; value."""
    red, green, blue = rgb
    value = ops.maximum(ops.maximum(red, green), blue)
    chroma = value - ops.minimum(ops.minimum(red, green), blue)
    coloured = chroma > 0
    safe = ops.where(coloured, chroma, 1.0)
    to_green, to_blue = 2 + (blue - red) / safe, 4 + (red - green) / safe
    sixths = ops.where(value == blue, to_blue, ops.where(value == green, to_green, (green - blue) / safe))
    hue = sixths / 6
    hue = (hue - ops.floor(hue)) * ops.cast(coloured, "float32")
    return hue, chroma / ops.where(value > 0, value, 1.0), value


def _power(plane, exponent):
    """That of positive numbers; several times faster on a CPU than `ops.power`."""
    return ops.exp(exponent * ops.log(plane))


def _xyz(rgb):
    """CIE XYZ with Y = 1 for white."""
    # The branch that is not taken must have a finite gradient, too: its argument stops where it ends.
    light = [
        ops.where(plane > 0.04045, _power((ops.maximum(plane, 0.04045) + 0.055) / 1.055, 2.4), plane / 12.92)
        for plane in rgb
    ]
    return _mixed(_XYZ, light)


def _cube_root(plane):
    """That of whatever is not dark."""
    return _power(ops.maximum(plane, _DARK), 1 / 3)


def _lab(rgb):
    """CIE 1976 L*a*b*."""
    x, y, z = (
        ops.where(plane > _DARK, _cube_root(plane), 7.787 * plane + 16 / 116)
        for plane in (plane / white for plane, white in zip(_xyz(rgb), _WHITE, strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _luv(rgb):
    """CIE 1976 L*u*v*."""
    x, y, z = _xyz(rgb)
    lightness = ops.where(y > _DARK, 116 * _cube_root(y) - 16, 903.3 * y)
    weights = np.array([1.0, 15.0, 3.0])
    white = weights @ _WHITE
    # u' - u'_white and v' - v'_white over one denominator: fewer digits cancel. Black has no chromaticity; L = 0 makes
    # whatever it is given irrelevant.
    rows = np.array([[4.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    u, v = _mixed(rows - np.outer(rows @ _WHITE / white, weights), (x, y, z), (0.0, 0.0))
    scale = 13 * lightness / (x + 15 * y + 3 * z + 1e-9)
    return lightness, scale * u, scale * v


def _hed(rgb):
    """Amounts of the three stains, from the optical densities relative to that of a millionth of the light."""
    densities = [ops.log(ops.maximum(plane, _DARKEST)) / float(np.log(_DARKEST)) for plane in rgb]
    amounts = _mixed(np.linalg.inv(_STAINS).T, densities)
    return tuple(ops.maximum(amount, 0.0) for amount in amounts)


_NONLINEAR = {"rgb": tuple, "hsv": _hsv, "lab": _lab, "luv": _luv, "xyz": _xyz, "hed": _hed}
