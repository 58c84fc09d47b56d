"""RandAugment's operations, one image at a time: by PIL on 8 bits, and transcribed to NumPy without PIL's cuts."""

import math

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

WARPS = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
ENHANCERS = ("Color", "Contrast", "Brightness", "Sharpness")


def by_pil(image, name, magnitude, sign, interpolation, fill):
    """An operation on a uint8 image [h, w, c], done by PIL with PyContrast's arguments; fill [c] in levels."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    level = magnitude / 10
    if name in WARPS:
        how = {"resample": Image.Resampling[interpolation.upper()]}
        how["fillcolor"] = fill[0] if image.shape[-1] == 1 else tuple(fill)
        width, height = picture.size
        rows = {
            "ShearX": (1, sign * 0.3 * level, 0, 0, 1, 0),
            "ShearY": (1, 0, 0, sign * 0.3 * level, 1, 0),
            "TranslateXRel": (1, 0, sign * 0.45 * level * width, 0, 1, 0),
            "TranslateYRel": (1, 0, 0, 0, 1, sign * 0.45 * level * height),
        }
        if name == "Rotate":
            done = picture.rotate(sign * 30 * level, **how)
        else:
            done = picture.transform(picture.size, Image.Transform.AFFINE, rows[name], **how)
    elif name in ENHANCERS:
        done = getattr(ImageEnhance, name)(picture).enhance(1.8 * level + 0.1)
    elif name == "PosterizeTpu":
        bits = int(4 * level)
        done = ImageOps.posterize(picture, bits) if bits else picture.point(lambda value: 0)  # PIL no longer takes 0
    elif name == "Solarize":
        done = ImageOps.solarize(picture, int(256 * level))
    elif name == "SolarizeAdd":
        done = picture.point([min(255, v + int(110 * level)) if v < 128 else v for v in range(256)] * image.shape[-1])
    elif name == "Identity":
        done = picture
    else:
        done = {"AutoContrast": ImageOps.autocontrast, "Equalize": ImageOps.equalize, "Invert": ImageOps.invert}[name](
            picture
        )
    return np.asarray(done).reshape(image.shape)


def _line(place, pixels, interpolation):
    """Dictionary: pixel of a line -> its weight at a place."""
    first, weights = math.floor(place - 0.5), {}
    for pixel in range(first - 1, first + 3):
        x = abs(place - 0.5 - pixel)
        if interpolation == "bilinear":
            weight = max(0.0, 1 - x)
        else:
            weight = x**3 - 2 * x**2 + 1 if x < 1 else -(x**3) + 5 * x**2 - 8 * x + 4 if x < 2 else 0.0
        clamped = min(max(pixel, 0), pixels - 1)
        weights[clamped] = weights.get(clamped, 0.0) + weight
    return weights


def warped(image, source, fill, interpolation):
    """An image [h, w, c] whose pixel at (x, y) comes from source(x, y); centers lie at half-integers."""
    height, width, _ = image.shape
    result = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            x, y = source(column + 0.5, row + 0.5)
            if not (0 <= x < width and 0 <= y < height):
                result[row, column] = fill
                continue
            across, down = _line(x, width, interpolation), _line(y, height, interpolation)
            result[row, column] = sum(u * v * image[j, i] for j, u in down.items() for i, v in across.items())
    return np.clip(result, 0, 1)


def _sources(name, level, height, width):
    """Where the pixels of a warp come from."""
    if name == "Rotate":
        angle, x0, y0 = math.radians(30 * level), width / 2, height / 2
        return lambda x, y: (
            x0 + math.cos(angle) * (x - x0) - math.sin(angle) * (y - y0),
            y0 + math.sin(angle) * (x - x0) + math.cos(angle) * (y - y0),
        )
    return {
        "ShearX": lambda x, y: (x + 0.3 * level * y, y),
        "ShearY": lambda x, y: (x, y + 0.3 * level * x),
        "TranslateXRel": lambda x, y: (x + 0.45 * level * width, y),
        "TranslateYRel": lambda x, y: (x, y + 0.45 * level * height),
    }[name]


def equalized(levels):
    """A channel of whole levels [h, w] whose histogram is made flat."""
    counts = np.bincount(levels.ravel(), minlength=256)
    step = (levels.size - counts[levels.max()]) // 255
    if step == 0:
        return levels
    return np.array([min(255, (step // 2 + np.sum(levels < level)) // step) for level in range(256)])[levels]


def _level_operation(levels, name, magnitude):
    """A whole level [h, w, c] for each."""
    if name == "AutoContrast":
        least, most = levels.min(axis=(0, 1)), levels.max(axis=(0, 1))
        return np.where(most > least, (levels - least) * 255 // np.maximum(most - least, 1), levels)
    if name == "Equalize":
        return np.stack([equalized(levels[..., c]) for c in range(levels.shape[-1])], axis=-1)
    if name == "Invert":
        return 255 - levels
    if name == "PosterizeTpu":
        return levels & ~(2 ** (8 - int(magnitude / 10 * 4)) - 1)
    if name == "Solarize":
        return np.where(levels < int(magnitude / 10 * 256), levels, 255 - levels)
    return np.where(levels < 128, np.minimum(levels + int(magnitude / 10 * 110), 255), levels)


def _degenerate(image, levels, name):
    """What an enhancer moves away from."""
    gray = image.shape[-1] == 1
    luma = levels if gray else (levels @ np.array([19595, 38470, 7471]) + 2**15 >> 16)[..., None]
    if name == "Brightness":
        return 0.0
    if name == "Contrast":
        return math.floor(luma.mean() + 0.5) / 255
    if name == "Color":
        return image if gray else luma / 255
    smooth = levels.copy()
    for row in range(1, levels.shape[0] - 1):
        for column in range(1, levels.shape[1] - 1):
            around = levels[row - 1 : row + 2, column - 1 : column + 2].sum(axis=(0, 1)) + 4 * levels[row, column]
            smooth[row, column] = np.floor(around / 13 + 0.5)
    return smooth / 255


def operated(image, name, magnitude, sign, interpolation, fill):
    """An operation on a float64 image [h, w, c] in [0, 1]; fill [c] in [0, 1]."""
    levels = np.rint(255 * image).astype(int)
    if name == "Identity":
        return image
    if name in WARPS:
        return warped(image, _sources(name, sign * magnitude / 10, *image.shape[:2]), fill, interpolation)
    if name in ENHANCERS:
        degenerate = _degenerate(image, levels, name)
        return np.clip(degenerate + (1.8 * magnitude / 10 + 0.1) * (image - degenerate), 0, 1)
    return _level_operation(levels, name, magnitude) / 255
