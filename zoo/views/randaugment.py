"""RandAugment (Cubuk et al., 2019, https://arxiv.org/abs/1909.13719), as InfoMin and CMC v2 use it.

Their code, PyContrast, calls this variant "rand-n2-m10-mstd0.5": two out of fifteen operations of the Python Imaging
Library (PIL) on 8-bit images, each applied with a probability of one half and with a magnitude that varies a little.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from zoo import checks, colors, seeds
from zoo.views import affine, maps, view

# The fifteen of InfoMin, and the eight that CMC uses, which keep the colors that its views are made of.
STANDARD = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "PosterizeTpu",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)
CMC = ("AutoContrast", "Identity", "Rotate", "Sharpness", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")

_WARPS = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
_TABLES = ("AutoContrast", "Equalize", "Invert", "PosterizeTpu", "Solarize", "SolarizeAdd")
_BLENDS = ("Color", "Contrast", "Brightness", "Sharpness")
# The number of an operation is its index here.
_KNOWN = ("Identity", *_WARPS, *_TABLES, *_BLENDS)
_LARGEST = 10.0
# PIL's weights of red, green and blue in the luma, with 16 bits after the point.
_LUMA_16_BITS = (19595, 38470, 7471)


def _is(number, name):
    """Returns 1 for the images whose operation `number` [B] has this name, else 0; float32 `[B, 1, 1]`."""
    return ops.cast(ops.equal(number, _KNOWN.index(name)), "float32")[:, None, None]


def _levels(images):
    """Returns the nearest of the 256 levels of 8 bits: the integers 0 to 255 in float32."""
    return ops.round(255 * images)


def matrices(number: Any, magnitude: Any, sign: Any, height: int, width: int) -> Any:
    """Returns the warps of the geometric operations, and the identity for all others.

    Args:
        number: number of the operation, int32 `[B]`.
        magnitude: in [0, 10], `[B]`. 10 rotates by 30 degrees, shears by 0.3, translates by 0.45 of the side.
        sign: 1 or -1, `[B]`.
        height: height of the images in pixels.
        width: width of the images in pixels.

    Returns:
        `[B, 6]`, see `zoo.views.affine`.
    """
    level = sign * magnitude / _LARGEST  # [B]
    rotate, shear_x, shear_y, move_x, move_y = (_is(number, name)[:, 0, 0] * level for name in _WARPS)  # [B] each
    none = ops.zeros_like(level)
    others = [none, 0.3 * shear_x, 0.45 * width * move_x, 0.3 * shear_y, none, 0.45 * height * move_y]
    return affine.rotation(30 * rotate, height, width) + ops.stack(others, axis=1)


def histogram(levels: Any) -> Any:
    """Counts the pixels of every level: int32 `[B, P, C]` in [0, 255] to int32 `[B, C, 256]`."""
    pixels, channels = levels.shape[1:]
    count = ops.shape(levels)[0]
    row = 256 * ops.arange(count * channels, dtype="int32")
    bins = levels + ops.reshape(row, (-1, 1, channels))  # [B, P, C]
    ones = ops.ones((count * pixels * channels,), dtype="int32")
    counts = ops.segment_sum(ones, ops.reshape(bins, (-1,)), num_segments=count * channels * 256)
    return ops.reshape(counts, (-1, channels, 256))


def equalized(counts: Any) -> Any:
    """Returns the levels that make a histogram flat.

    Args:
        counts: number of pixels of every level, int32 `[B, C, 256]`.

    Returns:
        The new level for every level, int32 `[B, C, 256]`. Channels with too few pixels below their highest level are
        not changed.
    """
    level = np.arange(256, dtype="int32")
    highest = ops.max(ops.where(counts > 0, level, 0), axis=-1, keepdims=True)  # [B, C, 1]
    last = ops.sum(ops.where(ops.equal(level, highest), counts, 0), axis=-1, keepdims=True)
    step = (ops.sum(counts, axis=-1, keepdims=True) - last) // 255  # [B, C, 1]
    below = ops.cumsum(counts, axis=-1) - counts
    spread = ops.minimum((step // 2 + below) // ops.maximum(step, 1), 255)
    return ops.where(step > 0, spread, level)


def _tabulated(images, drawn):
    """Applies the operations that map levels to levels: `[B, H, W, C]`, of 8 bits."""
    height, width, channels = images.shape[1:]
    number, magnitude = drawn["number"], drawn["magnitude"][:, None, None]
    levels = ops.cast(_levels(ops.reshape(images, (-1, height * width, channels))), "int32")  # [B, P, C]
    level = np.arange(256, dtype="int32")
    least = ops.min(levels, axis=1)[..., None]  # [B, C, 1]
    span = ops.max(levels, axis=1)[..., None] - least
    stretched = ops.clip((level - least) * 255 // ops.maximum(span, 1), 0, 255)
    # The number of bits to keep, the threshold and the summand, [B, 1, 1].
    bits, threshold, added = (ops.cast(magnitude / _LARGEST * largest, "int32") for largest in (4, 256, 110))
    dropped = 8 - bits
    tables = {
        "AutoContrast": ops.where(span > 0, stretched, level),
        "Equalize": equalized(histogram(levels)),
        "Invert": 255 - level,
        "PosterizeTpu": ops.left_shift(ops.right_shift(level, dropped), dropped),
        "Solarize": ops.where(level < threshold, level, 255 - level),
        "SolarizeAdd": ops.where(level < 128, ops.minimum(level + added, 255), level),
    }
    table = sum(_is(number, name) * ops.cast(new, "float32") for name, new in tables.items()) / 255  # [B, C, 256]
    row = 256 * ops.arange(ops.shape(images)[0] * channels, dtype="int32")
    place = levels + ops.reshape(row, (-1, 1, channels))  # [B, P, C]
    return ops.reshape(ops.take(ops.reshape(table, (-1,)), place, axis=0), (-1, height, width, channels))


def _smoothed(levels):
    """Applies PIL's filter SMOOTH, `[B, H, W, C]`: a 3 by 3 kernel of ones with a central 5; the border stays."""
    height, width = levels.shape[1:3]
    if min(height, width) < 3:
        return levels
    rows = levels[:, :-2] + levels[:, 1:-1] + levels[:, 2:]
    around = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]  # [B, H - 2, W - 2, C]
    inner = ops.floor((around + 4 * levels[:, 1:-1, 1:-1]) / 13 + 0.5)
    border = np.pad(np.zeros((height - 2, width - 2, 1), "float32"), ((1, 1), (1, 1), (0, 0)), constant_values=1)
    return border * levels + ops.pad(inner, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _blended(images, drawn):
    """Applies the operations that blend images with a degenerate version of them: `[B, H, W, C]`."""
    levels = _levels(images)
    color, contrast, sharpness = (_is(drawn["number"], name)[..., None] for name in ("Color", "Contrast", "Sharpness"))
    if images.shape[-1] == 3:
        # Float32 holds these integers exactly.
        luma = ops.floor((colors.luma(levels, weights=_LUMA_16_BITS) + 32768) / 65536)  # [B, H, W, 1]
        gray = luma / 255
    else:
        luma, gray = levels, images
    mean = ops.floor(ops.mean(luma, axis=(1, 2), keepdims=True) + 0.5) / 255  # [B, 1, 1, 1]
    # For brightness, the degenerate version is black.
    degenerate = color * gray + contrast * mean + sharpness * (_smoothed(levels) / 255)
    strength = 0.1 + 1.8 * drawn["magnitude"][:, None, None, None] / _LARGEST
    return ops.clip(images + (strength - 1) * (images - degenerate), 0, 1)


def _warped(images, drawn, fill, interpolation):
    """Applies the operations that move pixels, `[B, H, W, C]`."""
    return affine.warped(images, drawn["matrix"], fill, interpolation)


def grouped(images: Any, group: Any, drawn: dict[str, Any], functions: Sequence[Callable]) -> Any:
    """Applies to every image the function of its group, without applying the others.

    The batch is sorted by group. Every function then takes its images in portions of a fixed size.

    Args:
        images: `[B, H, W, C]`.
        group: int32 `[B]`. 0 leaves an image as it is, i applies `functions[i - 1]`.
        drawn: dictionary of tensors `[B, ...]`.
        functions: functions of images and their rows of `drawn` to images of the same size.

    Returns:
        `[B, H, W, C]`.
    """
    batch = images.shape[0]
    portion = 32 if batch is None else max(min(batch, 32), batch // 16)
    order = ops.cast(ops.argsort(group), "int32")  # [B]
    # The last portion may reach beyond the batch, and the last of a group into the next, which then overwrites it.
    places = ops.concatenate([order, ops.zeros((portion,), dtype="int32")])
    made = ops.take(images, places, axis=0)

    def applied(function, start, made):
        rows = ops.slice(places, (start,), (portion,))
        rows_drawn = {name: ops.take(value, rows, axis=0) for name, value in drawn.items()}
        results = function(ops.take(images, rows, axis=0), rows_drawn)
        return start + portion, ops.slice_update(made, (start, 0, 0, 0), results)

    for number, function in enumerate(functions, start=1):
        start, stop = (ops.sum(ops.cast(group < bound, "int32")) for bound in (number, number + 1))
        body = functools.partial(applied, function)
        made = ops.while_loop(lambda position, _, stop=stop: position < stop, body, (start, made))[1]
    return ops.take(made, ops.argsort(order), axis=0)


@dataclasses.dataclass(frozen=True)
class RandAugment(view.View):
    """Applies `count` operations to each image one after the other, drawn with replacement.

    In a dictionary of maps, all operations change `"image"`, but only warps change the other maps.

    Args:
        count: number of operations drawn for each image.
        magnitude: mean magnitude, in [0, 10].
        magnitude_std: standard deviation of the magnitude, which is then clipped to [0, 10].
        probability: probability of applying a drawn operation, in [0, 1].
        operations: names to draw from, all equally likely. At magnitude m
            `"Identity"`, `"AutoContrast"`, `"Equalize"`, `"Invert"` do not depend on m;
            `"Rotate"` rotates by 3 m degrees either way;
            `"ShearX"`, `"ShearY"` shear by 0.03 m either way;
            `"TranslateXRel"`, `"TranslateYRel"` translate by 0.045 m of the side either way;
            `"PosterizeTpu"` keeps the highest floor(0.4 m) bits;
            `"Solarize"` inverts the levels from floor(25.6 m) on, none at m = 10;
            `"SolarizeAdd"` adds floor(11 m) to the levels below 128;
            `"Color"`, `"Contrast"`, `"Brightness"`, `"Sharpness"` scale the distance to a gray, a flat, a black and a
            smoothed image by 0.1 + 0.18 m.
        fill: red, green and blue of pixels that warps bring in from outside, in [0, 1]; for one channel, their luma; 0
            for maps other than `"image"`.
        interpolations: interpolations of the warps, `"bilinear"` or `"bicubic"`, all equally likely.

    Differs from the paper: there magnitudes do not vary, every drawn operation is applied, and the list has
    `"Identity"` instead of `"Invert"` and `"SolarizeAdd"`; this is PyContrast's variant. It differs from both in that
    blends and warps keep the fractions that PIL cuts off: only operations on levels round images to 8 bits.
    """

    count: int = 2
    magnitude: float = 10.0
    magnitude_std: float = 0.5
    probability: float = 0.5
    operations: tuple[str, ...] = STANDARD
    fill: tuple[float, float, float] = (124 / 255, 116 / 255, 104 / 255)
    interpolations: tuple[str, ...] = affine.INTERPOLATIONS

    takes_maps = True

    def __post_init__(self):
        who = "RandAugment"
        checks.integers(who, count=self.count)
        checks.require(0 <= self.magnitude <= _LARGEST, who, "`magnitude` in [0, 10]", magnitude=self.magnitude)
        checks.non_negative(who, magnitude_std=self.magnitude_std)
        checks.fractions(who, probability=self.probability)
        for field, known in (("operations", _KNOWN), ("interpolations", affine.INTERPOLATIONS)):
            names = getattr(self, field)
            is_valid = isinstance(names, (tuple, list)) and len(names) > 0
            checks.require(is_valid, who, f"`{field}` to be a tuple of names", **{field: names})
            for name in names:
                checks.one_of(who, field, name, known)
            object.__setattr__(self, field, tuple(names))
        fill = self.fill
        is_valid = isinstance(fill, (tuple, list)) and len(fill) == 3 and all(0 <= part <= 1 for part in fill)
        checks.require(is_valid, who, "`fill` to be (red, green, blue) in [0, 1]", fill=fill)
        object.__setattr__(self, "fill", tuple(fill))

    def draw(self, seed: seeds.Seed, shape: maps.Shape) -> view.Draw:
        """Draws the operations and their settings, all `[B, count]`.

        `operation`, int32: index in `operations`; `applied`, bool; `magnitude`, in [0, 10]; `sign` of warps, 1 or -1;
        `interpolation` of warps, int32: index in `interpolations`.
        """
        unit = seed.uniform((5, self.count))  # [B, 5, count]
        # Kept away from -1, where the inverse is infinite.
        normal = np.sqrt(2.0).astype("float32") * ops.erfinv(ops.maximum(2 * unit[:, 2] - 1, -1 + 2.0**-23))
        return {
            "operation": ops.cast(ops.floor(len(self.operations) * unit[:, 0]), "int32"),
            "applied": unit[:, 1] < self.probability,
            "magnitude": ops.clip(self.magnitude + self.magnitude_std * normal, 0, _LARGEST),
            "sign": ops.where(unit[:, 3] < 0.5, -1.0, 1.0),
            "interpolation": ops.cast(ops.floor(len(self.interpolations) * unit[:, 4]), "int32"),
        }

    def apply(self, images: Any, drawn: view.Draw) -> Any:
        """Applies the drawn operations in order."""
        if isinstance(images, dict):
            return {key: self._applied(array, drawn, key == maps.IMAGE) for key, array in images.items()}
        return self._applied(images, drawn, is_image=True)

    def _applied(self, images, drawn, is_image):
        channels = images.shape[-1]
        is_valid = channels in (1, 3) or not is_image
        checks.require(is_valid, "RandAugment", "images with 1 or 3 channels", channels=channels)

        def operated(turn, images):
            turn_drawn = {name: ops.take(value, turn, axis=1) for name, value in drawn.items()}
            return self._operated(images, turn_drawn, is_image)

        # This is a loop, because compilers already take long for a single operation.
        return ops.fori_loop(0, self.count, operated, images)

    def _operated(self, images, drawn, is_image):
        """Applies one operation per image where it was drawn; every entry of `drawn` is `[B]`."""
        height, width, channels = images.shape[1:]
        fill = self.fill if channels == 3 else (float(np.dot(colors.LUMA, self.fill)),)
        fill = fill if is_image else (0.0,) * channels
        known = [_KNOWN.index(name) for name in self.operations]
        number = ops.take(np.array(known, dtype="int32"), drawn["operation"], axis=0)  # [B]
        number = ops.where(drawn["applied"], number, _KNOWN.index("Identity"))
        # One group per interpolation of the warps, then the tables, then the blends.
        warps = len(self.interpolations)
        kinds = [0] + [1] * len(_WARPS) + [warps + 1] * len(_TABLES) + [warps + 2] * len(_BLENDS)
        group = ops.take(np.array(kinds, dtype="int32"), number, axis=0)
        group = group + ops.where(ops.equal(group, 1), drawn["interpolation"], 0)
        functions = [functools.partial(_warped, fill=fill, interpolation=name) for name in self.interpolations]
        if is_image:
            functions += [_tabulated, _blended]
        else:
            group = ops.where(group > warps, 0, group)
        magnitude = drawn["magnitude"]
        matrix = matrices(number, magnitude, drawn["sign"], height, width)
        return grouped(images, group, {"number": number, "magnitude": magnitude, "matrix": matrix}, functions)
