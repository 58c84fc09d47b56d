"""Views that change colours: jitter, greyscale, solarisation.

Jitter as in SimCLR (Chen et al., 2020, https://arxiv.org/abs/2002.05709, Appendix A) or as in torchvision; solarisation
as in BYOL (Grill et al., 2020, https://arxiv.org/abs/2006.07733).
"""

import dataclasses

import numpy as np
from keras import ops

from zoo import checks
from zoo.views import execution, view

# ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)
# Brightness, contrast, saturation and hue are numbered 0 to 3.
_HUE, _NOTHING = 3, 4
_RECIPES = ("simclr", "simclr_v1", "torchvision")


def _colours(who, images):
    """Refuses images that are neither grey nor red, green and blue."""
    channels = images.shape[-1]
    checks.require(channels in (1, 3), who, "images of 1 or 3 channels", channels=channels)


def _luma(planes):
    """Luma of channel-first images, `[B, C, P] -> [B, 1, P]`."""
    if planes.shape[1] == 1:
        return planes
    red, green, blue = (planes[:, i : i + 1] for i in range(3))
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def hue_turned(planes, turn):
    """Colours with their hue turned around the HSV cone.

    Args:
        planes: red, green, blue in [0, 1], `[B, 3, P]`.
        turn: share of the full circle, in [-1, 1], `[B]`.

    Returns:
        `[B, 3, P]`.
    """
    red, green, blue = (planes[:, i : i + 1] for i in range(3))  # [B, 1, P] each
    value = ops.max(planes, axis=1, keepdims=True)
    chroma = value - ops.min(planes, axis=1, keepdims=True)
    safe = ops.where(chroma > 0, chroma, 1.0)
    to_green, to_blue = 2 + (blue - red) / safe, 4 + (red - green) / safe
    hue = ops.where(
        value == red, (green - blue) / safe, ops.where(value == green, to_green, to_blue)
    )  # sixths, [-1, 5]
    sector = hue + 6 * turn[:, None, None] + np.array([[5], [3], [1]], dtype="float32")  # [B, 3, P]
    sector = sector - 6 * ops.floor(sector / 6)
    return value - chroma * ops.clip(ops.minimum(sector, 4 - sector), 0, 1)


@dataclasses.dataclass(frozen=True)
class Jitter(view.View):
    """Changes brightness, contrast, saturation and hue by random factors in random order, clipping after each.

    Brightness, contrast and saturation scale the distance to a reference: black, a mean, a colourless image.
    The factor is uniform in [max(0, 1 - s * x), 1 + s * x], the turn of the hue in [-s * hue, s * hue], where s is
    `strength`. With one channel saturation and hue change nothing.

    Args:
        brightness: greatest relative change.
        contrast: greatest relative change.
        saturation: greatest relative change.
        hue: greatest turn, as a share of the full circle.
        strength: multiplies the four; 1 for ImageNet, 0.5 for CIFAR-10 in SimCLR.
        recipe: what is meant by the four names.
            `"simclr"`: the authors' second version. Contrast about the mean of each channel, saturation in HSV.
            `"simclr_v1"`: their first, and BYOL's: as above, but brightness adds uniform [-s * x, s * x].
            `"torchvision"`: contrast about the mean luma, saturation about the luma (MoCo, SwAV, Barlow Twins, ...).
    """

    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    strength: float = 1.0
    recipe: str = "simclr"

    def __post_init__(self):
        for name in ("brightness", "contrast", "saturation", "hue", "strength"):
            checks.non_negative("Jitter", **{name: getattr(self, name)})
        hue, strength = self.hue, self.strength
        checks.require(hue * strength <= 0.5, "Jitter", "`hue * strength` <= 0.5", hue=hue, strength=strength)
        checks.one_of("Jitter", "recipe", self.recipe, _RECIPES)

    def draw(self, seed, shape):
        """What happens, and when.

        `brightness`, `contrast`, `saturation` [B]: factors (`simclr_v1`: the brightness to add); `hue` [B]: turn;
        `order` [B, 4], int32: which of the four, in this sequence, comes first, second, third, fourth.
        """
        unit = 2 * seed.uniform((8,)) - 1  # [B, 8] in [-1, 1)
        drawn = {"order": ops.cast(ops.argsort(unit[:, 4:], axis=-1), "int32")}
        for number, name in enumerate(("brightness", "contrast", "saturation", "hue")):
            most = self.strength * getattr(self, name)
            if name == "hue" or (name == "brightness" and self.recipe == "simclr_v1"):
                drawn[name] = most * unit[:, number]
            else:
                low = max(0.0, 1 - most)
                drawn[name] = low + (1 + most - low) * (unit[:, number] + 1) / 2
        return drawn

    def apply(self, images, drawn):
        """The four changes, in the drawn order."""
        _colours("Jitter", images)
        height, width, channels = images.shape[1:]
        planes = ops.transpose(ops.reshape(images, (-1, height * width, channels)), (0, 2, 1))  # [B, C, P]
        order = drawn["order"]
        hue_at = ops.argmax(ops.cast(order == _HUE, "int32"), axis=1)[:, None]  # [B, 1]
        slot = np.arange(3, dtype="int32")
        # The three others close ranks; the hue, by far the dearest, is turned once, between those before and after it.
        kinds = ops.where(slot < hue_at, order[:, :3], order[:, 1:])  # [B, 3]
        first = 0
        if channels == 3 and self.hue * self.strength > 0:
            # Of a single image it is known which those are.
            first, last = (hue_at[0, 0], hue_at[0, 0]) if execution.is_single(images) else (0, 3)
            planes = self._blends(planes, drawn, ops.where(slot < hue_at, kinds, _NOTHING), 0, last)
            planes = ops.clip(hue_turned(planes, drawn["hue"]), 0, 1)
            kinds = ops.where(slot < hue_at, _NOTHING, kinds)
        planes = self._blends(planes, drawn, kinds, first, 3)
        return ops.reshape(ops.transpose(planes, (0, 2, 1)), (-1, height, width, channels))  # [B, H, W, C]

    def _blends(self, planes, drawn, kinds, first, end):
        """Brightness, contrast or saturation as `kinds` [B, 3] says, from `first` on, each clipped to [0, 1]."""
        masks = [ops.cast(kinds == kind, "float32")[:, :, None, None] for kind in range(3)]  # [B, 3, 1, 1] each

        def change(i, planes):
            return self._blend(planes, drawn, *(ops.take(mask, i, axis=1) for mask in masks))

        # A loop, because XLA would fuse the three if they stood in a row, and compute each anew for every use.
        return ops.fori_loop(first, end, change, planes)

    def _blend(self, planes, drawn, brightness, contrast, saturation):
        """At most one change per image; which one, is 1, the others are 0, `[B, 1, 1]`.

        All three are factor * x + (1 - factor) * reference, written so that a factor of 1 changes no bit of x. The
        masks are multiplied with: selecting between arrays that broadcast is several times slower on a CPU.
        """
        brighter, stronger, fuller = (drawn[name][:, None, None] for name in ("brightness", "contrast", "saturation"))
        added = 0.0
        factor = 1 + contrast * (stronger - 1) + saturation * (fuller - 1)  # [B, 1, 1]
        if self.recipe == "simclr_v1":
            added = brightness * brighter
        else:
            factor = factor + brightness * (brighter - 1)
        if self.recipe == "torchvision":
            colourless = _luma(planes)  # [B, 1, P]
            mean = ops.mean(colourless, axis=2, keepdims=True)  # [B, 1, 1]
            scale = factor
        else:
            colourless = ops.max(planes, axis=1, keepdims=True)  # [B, 1, P]: HSV's value
            mean = ops.mean(planes, axis=2, keepdims=True)  # [B, C, 1]
            # HSV's saturation, (highest - lowest) / highest, stops at 1.
            most = colourless / ops.maximum(colourless - ops.min(planes, axis=1, keepdims=True), 1e-12)
            scale = ops.minimum(factor, most + (1 - saturation) * 1e9)  # [B, 1, P]
        paler = saturation * (1 - scale) * colourless  # [B, 1, P]
        return ops.clip(scale * planes + paler + (contrast * (1 - factor) * mean + added), 0, 1)


@dataclasses.dataclass(frozen=True)
class Grayscale(view.View):
    """Replaces all channels by the luma (ITU-R BT.601); one channel stays as it is."""

    def apply(self, images, drawn):
        """Equal channels."""
        _colours("Grayscale", images)
        if images.shape[-1] == 1:
            return images
        red, green, blue = (images[..., i : i + 1] for i in range(3))
        luma = ops.clip(_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue, 0, 1)  # [B, H, W, 1]
        return ops.repeat(luma, 3, axis=-1)


@dataclasses.dataclass(frozen=True)
class Solarize(view.View):
    """Inverts the pixels at or above `threshold`.

    Args:
        threshold: in [0, 1].
    """

    threshold: float = 0.5

    def __post_init__(self):
        checks.fractions("Solarize", threshold=self.threshold)

    def apply(self, images, drawn):
        """Inverted in part."""
        return ops.where(images >= self.threshold, 1 - images, images)
