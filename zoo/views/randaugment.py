"""RandAugment (Cubuk et al., 2019, https://arxiv.org/abs/1909.13719), as InfoMin and CMC v2 use it.

Their code is PyContrast's, which calls this variant "rand-n2-m10-mstd0.5": two of fifteen operations of the Python
Imaging Library (PIL) on 8-bit images, each applied half of the time, with a magnitude that varies a little.
"""

import dataclasses
import functools

import numpy as np
from keras import ops

from zoo import checks
from zoo.views import affine, maps, view

# InfoMin's fifteen, and the eight that leave colours alone, which CMC takes because colours tell its views apart.
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
# An operation's number is its place here.
_KNOWN = ("Identity", *_WARPS, *_TABLES, *_BLENDS)
_MOST = 10.0
# ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)


def _is(number, name):
    """1 for the images whose operation `number` [B] is the named one, else 0; float32 `[B, 1, 1]`."""
    return ops.cast(ops.equal(number, _KNOWN.index(name)), "float32")[:, None, None]


def _levels(images):
    """The nearest of the 256 levels of 8 bits: whole numbers 0 to 255, float32."""
    return ops.round(255 * images)


def matrices(number, magnitude, sign, height, width):
    """How the geometric operations warp: `[B, 6]`, see `affine`; all others do not.

    Args:
        number: of the operation, int32 `[B]`.
        magnitude: in [0, 10], `[B]`. 10 turns by 30 degrees, shears by 0.3, moves by 0.45 of the side.
        sign: 1 or -1, `[B]`.
        height: pixels.
        width: pixels.
    """
    level = sign * magnitude / _MOST  # [B]
    rotate, shear_x, shear_y, move_x, move_y = (_is(number, name)[:, 0, 0] * level for name in _WARPS)  # [B] each
    none = ops.zeros_like(level)
    others = [none, 0.3 * shear_x, 0.45 * width * move_x, 0.3 * shear_y, none, 0.45 * height * move_y]
    return affine.rotation(30 * rotate, height, width) + ops.stack(others, axis=1)


def histogram(levels):
    """How many pixels have each level: int32 `[B, P, C]` in [0, 255] to int32 `[B, C, 256]`."""
    pixels, channels = levels.shape[1:]
    count = ops.shape(levels)[0]
    row = 256 * ops.arange(count * channels, dtype="int32")
    bins = levels + ops.reshape(row, (-1, 1, channels))  # [B, P, C]
    ones = ops.ones((count * pixels * channels,), dtype="int32")
    counts = ops.segment_sum(ones, ops.reshape(bins, (-1,)), num_segments=count * channels * 256)
    return ops.reshape(counts, (-1, channels, 256))


def equalized(counts):
    """The levels that make the histogram flat.

    Args:
        counts: pixels of each level, int32 `[B, C, 256]`.

    Returns:
        The new level of each, int32 `[B, C, 256]`. Channels with too few pixels below their highest level stay.
    """
    level = np.arange(256, dtype="int32")
    highest = ops.max(ops.where(counts > 0, level, 0), axis=-1, keepdims=True)  # [B, C, 1]
    last = ops.sum(ops.where(ops.equal(level, highest), counts, 0), axis=-1, keepdims=True)
    step = (ops.sum(counts, axis=-1, keepdims=True) - last) // 255  # [B, C, 1]
    below = ops.cumsum(counts, axis=-1) - counts
    spread = ops.minimum((step // 2 + below) // ops.maximum(step, 1), 255)
    return ops.where(step > 0, spread, level)


def _tabulated(images, drawn):
    """The operations that replace each level by another: `[B, H, W, C]`, of 8 bits."""
    height, width, channels = images.shape[1:]
    number, magnitude = drawn["number"], drawn["magnitude"][:, None, None]
    levels = ops.cast(_levels(ops.reshape(images, (-1, height * width, channels))), "int32")  # [B, P, C]
    level = np.arange(256, dtype="int32")
    least = ops.min(levels, axis=1)[..., None]  # [B, C, 1]
    span = ops.max(levels, axis=1)[..., None] - least
    stretched = ops.clip((level - least) * 255 // ops.maximum(span, 1), 0, 255)
    # Highest bits, threshold and what is added; [B, 1, 1].
    bits, threshold, added = (ops.cast(magnitude / _MOST * most, "int32") for most in (4, 256, 110))
    dropped = 8 - bits
    tables = {
        "AutoContrast": ops.where(span > 0, stretched, level),
        "Equalize": equalized(histogram(levels)),
        "Invert": 255 - level,
        "PosterizeTpu": ops.left_shift(ops.right_shift(level, dropped), dropped),
        "Solarize": ops.where(level < threshold, level, 255 - level),
        "SolarizeAdd": ops.where(level < 128, ops.minimum(level + added, 255), level),
    }
    table = sum(_is(number, name) * ops.cast(its, "float32") for name, its in tables.items()) / 255  # [B, C, 256]
    row = 256 * ops.arange(ops.shape(images)[0] * channels, dtype="int32")
    place = levels + ops.reshape(row, (-1, 1, channels))  # [B, P, C]
    return ops.reshape(ops.take(ops.reshape(table, (-1,)), place, axis=0), (-1, height, width, channels))


def _smoothed(levels):
    """PIL's filter SMOOTH, `[B, H, W, C]` to the same: the rim stays, elsewhere weights are 5 amid eight ones, / 13."""
    height, width = levels.shape[1:3]
    if min(height, width) < 3:
        return levels
    rows = levels[:, :-2] + levels[:, 1:-1] + levels[:, 2:]
    around = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]  # [B, H - 2, W - 2, C]
    inner = ops.floor((around + 4 * levels[:, 1:-1, 1:-1]) / 13 + 0.5)
    rim = np.pad(np.zeros((height - 2, width - 2, 1), "float32"), ((1, 1), (1, 1), (0, 0)), constant_values=1)
    return rim * levels + ops.pad(inner, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _blended(images, drawn):
    """The operations that move an image away from a degenerate one, or towards it: `[B, H, W, C]`."""
    levels = _levels(images)
    color, contrast, sharpness = (_is(drawn["number"], name)[..., None] for name in ("Color", "Contrast", "Sharpness"))
    if images.shape[-1] == 3:
        red, green, blue = (levels[..., i : i + 1] for i in range(3))
        # PIL's 16 bits after the point; float32 holds these whole numbers exactly.
        luma = ops.floor((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536)  # [B, H, W, 1]
        colourless = luma / 255
    else:
        luma, colourless = levels, images
    mean = ops.floor(ops.mean(luma, axis=(1, 2), keepdims=True) + 0.5) / 255  # [B, 1, 1, 1]
    # That of the brightness is black.
    degenerate = color * colourless + contrast * mean + sharpness * (_smoothed(levels) / 255)
    strength = 0.1 + 1.8 * drawn["magnitude"][:, None, None, None] / _MOST
    return ops.clip(images + (strength - 1) * (images - degenerate), 0, 1)


def _warped(images, drawn, fill, interpolation):
    """The operations that move pixels, `[B, H, W, C]`."""
    return affine.warped(images, drawn["matrix"], fill, interpolation)


def grouped(images, group, drawn, functions):
    """Every image through the function of its group, at the price of what is needed.

    The batch is sorted by group, then each function takes its part of it in portions of a fixed size.

    Args:
        images: `[B, H, W, C]`.
        group: int32 `[B]`. 0: the image stays; i: the image goes through `functions[i - 1]`.
        drawn: dictionary of tensors `[B, ...]`.
        functions: of images and their rows of `drawn`, each to images of the same size.

    Returns:
        `[B, H, W, C]`.
    """
    batch = images.shape[0]
    portion = 32 if batch is None else max(min(batch, 32), batch // 16)
    order = ops.cast(ops.argsort(group), "int32")  # [B]
    # The last portion may reach beyond the batch, and each beyond its group: the next group overwrites that.
    places = ops.concatenate([order, ops.zeros((portion,), dtype="int32")])
    made = ops.take(images, places, axis=0)

    def applied(function, start, made):
        rows = ops.slice(places, (start,), (portion,))
        its = {name: ops.take(value, rows, axis=0) for name, value in drawn.items()}
        return start + portion, ops.slice_update(made, (start, 0, 0, 0), function(ops.take(images, rows, axis=0), its))

    for number, function in enumerate(functions, start=1):
        start, stop = (ops.sum(ops.cast(group < bound, "int32")) for bound in (number, number + 1))
        body = functools.partial(applied, function)
        made = ops.while_loop(lambda at, _, stop=stop: at < stop, body, (start, made))[1]
    return ops.take(made, ops.argsort(order), axis=0)


@dataclasses.dataclass(frozen=True)
class RandAugment(view.View):
    """Applies `count` operations, drawn with replacement, one after the other.

    Args:
        count: operations drawn for each image.
        magnitude: mean magnitude, in [0, 10].
        magnitude_std: standard deviation of the magnitude, which is then clipped to [0, 10].
        probability: that a drawn operation is applied, in [0, 1].
        operations: names to draw from, all equally likely. With magnitude m
            `"Identity"`, `"AutoContrast"`, `"Equalize"`, `"Invert"`: do not depend on m;
            `"Rotate"`, `"ShearX"`, `"ShearY"`, `"TranslateXRel"`, `"TranslateYRel"`: by 3 m degrees, 0.03 m,
            0.045 m of the side, either way;
            `"PosterizeTpu"`: keeps the highest floor(0.4 m) bits;
            `"Solarize"`: inverts the levels from floor(25.6 m) on: none at 10;
            `"SolarizeAdd"`: adds floor(11 m) to the levels below 128;
            `"Color"`, `"Contrast"`, `"Brightness"`, `"Sharpness"`: scale the distance to the colourless, flat, black,
            smoothed image by 0.1 + 0.18 m.
        fill: red, green, blue beyond the rim of a warped image, in [0, 1]; for one channel, their luma.
        interpolations: of the warps, `"bilinear"` or `"bicubic"`, all equally likely.

    Differs from the paper: its magnitudes do not vary, every drawn operation is applied, and its list has `"Identity"`
    instead of `"Invert"` and `"SolarizeAdd"`; this is PyContrast's. Unlike both, what is blended or warped keeps the
    fractions that PIL cuts off: images are rounded to 8 bits only where an operation is about levels.
    """

    count: int = 2
    magnitude: float = 10.0
    magnitude_std: float = 0.5
    probability: float = 0.5
    operations: tuple = STANDARD
    fill: tuple = (124 / 255, 116 / 255, 104 / 255)
    interpolations: tuple = affine.INTERPOLATIONS

    takes_maps = True

    def __post_init__(self):
        who = "RandAugment"
        checks.integers(who, count=self.count)
        checks.require(0 <= self.magnitude <= _MOST, who, "`magnitude` in [0, 10]", magnitude=self.magnitude)
        checks.non_negative(who, magnitude_std=self.magnitude_std)
        checks.fractions(who, probability=self.probability)
        for field, known in (("operations", _KNOWN), ("interpolations", affine.INTERPOLATIONS)):
            names = getattr(self, field)
            are = isinstance(names, (tuple, list)) and len(names) > 0
            checks.require(are, who, f"`{field}` to be a tuple of names", **{field: names})
            for name in names:
                checks.one_of(who, field, name, known)
            object.__setattr__(self, field, tuple(names))
        fill = self.fill
        are = isinstance(fill, (tuple, list)) and len(fill) == 3 and all(0 <= part <= 1 for part in fill)
        checks.require(are, who, "`fill` to be (red, green, blue) in [0, 1]", fill=fill)
        object.__setattr__(self, "fill", tuple(fill))

    def draw(self, seed, shape):
        """What is done, all `[B, count]`.

        `operation`, int32: place in `operations`; `applied`, bool; `magnitude`, in [0, 10]; `sign`, 1 or -1, of warps;
        `interpolation`, int32: place in `interpolations`, of warps.
        """
        unit = seed.uniform((5, self.count))  # [B, 5, count]
        # Kept off -1, where the inverse is infinite.
        normal = np.sqrt(2.0).astype("float32") * ops.erfinv(ops.maximum(2 * unit[:, 2] - 1, -1 + 2.0**-23))
        return {
            "operation": ops.cast(ops.floor(len(self.operations) * unit[:, 0]), "int32"),
            "applied": unit[:, 1] < self.probability,
            "magnitude": ops.clip(self.magnitude + self.magnitude_std * normal, 0, _MOST),
            "sign": ops.where(unit[:, 3] < 0.5, -1.0, 1.0),
            "interpolation": ops.cast(ops.floor(len(self.interpolations) * unit[:, 4]), "int32"),
        }

    def apply(self, images, drawn):
        """Applies the drawn operations in order; of a dictionary's other maps only the warps, with a fill of 0."""
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

        # A loop, because compilers take long for a single operation already.
        return ops.fori_loop(0, self.count, operated, images)

    def _operated(self, images, drawn, is_image):
        """Applies one operation per image where it was drawn; all of `drawn` are `[B]`."""
        height, width, channels = images.shape[1:]
        fill = self.fill if channels == 3 else (float(np.dot(_LUMA, self.fill)),)
        fill = fill if is_image else (0.0,) * channels
        known = [_KNOWN.index(name) for name in self.operations]
        number = ops.take(np.array(known, dtype="int32"), drawn["operation"], axis=0)  # [B]
        number = ops.where(drawn["applied"], number, _KNOWN.index("Identity"))
        # One group for each interpolation of the warps, then the tables, then the blends.
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
