"""Views that change colors: jitter, grayscale, solarization.

The jitter is that of SimCLR (Chen et al., 2020, https://arxiv.org/abs/2002.05709, Appendix A) or of torchvision; the
solarization is that of BYOL (Grill et al., 2020, https://arxiv.org/abs/2006.07733).
"""

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from zoo import checks, colors, seeds
from zoo.views import execution, maps, view

# Brightness, contrast, saturation and hue are numbered 0 to 3.
_HUE, _NOTHING = 3, 4
_RECIPES = ("simclr", "simclr_v1", "torchvision")


def _check_channels(who, images):
    """Raises ValueError unless images are gray, or red, green and blue."""
    channels = images.shape[-1]
    checks.require(channels in (1, 3), who, "images of 1 or 3 channels", channels=channels)


def _luma(planes):
    """Returns the luma of channel-first images, `[B, C, P] -> [B, 1, P]`."""
    return planes if planes.shape[1] == 1 else colors.luma(planes, axis=1)


def hue_turned(planes: Any, turn: Any) -> Any:
    """Rotates the hue of colors around the HSV cone.

    Args:
        planes: red, green, blue in [0, 1], `[B, 3, P]`.
        turn: fraction of a full turn, in [-1, 1], `[B]`.

    Returns:
        `[B, 3, P]`.
    """
    red, green, blue = (planes[:, i : i + 1] for i in range(3))  # [B, 1, P] each
    value = ops.max(planes, axis=1, keepdims=True)
    chroma = value - ops.min(planes, axis=1, keepdims=True)
    safe = ops.where(chroma > 0, chroma, 1.0)
    to_green, to_blue = 2 + (blue - red) / safe, 4 + (red - green) / safe
    to_others = ops.where(value == green, to_green, to_blue)
    hue = ops.where(value == red, (green - blue) / safe, to_others)  # [B, 1, P], sixths of a turn in [-1, 5]
    sector = hue + 6 * turn[:, None, None] + np.array([[5], [3], [1]], dtype="float32")  # [B, 3, P]
    sector = sector - 6 * ops.floor(sector / 6)
    return value - chroma * ops.clip(ops.minimum(sector, 4 - sector), 0, 1)


@dataclasses.dataclass(frozen=True)
class Jitter(view.View):
    """Changes brightness, contrast, saturation and hue by random amounts in random order, clipping after each change.

    Brightness, contrast and saturation scale the distance of pixels from a reference: black, a mean, a gray image. The
    factor is uniform in [max(0, 1 - s * x), 1 + s * x], where s is `strength` and x is `brightness`, `contrast` or
    `saturation`. The hue is rotated by a uniform fraction of a turn in [-s * hue, s * hue]. Images with one channel
    have neither saturation nor hue, which then change nothing.

    Args:
        brightness: largest relative change.
        contrast: largest relative change.
        saturation: largest relative change.
        hue: largest rotation, as a fraction of a full turn.
        strength: multiplies the other four; in SimCLR 1 for ImageNet and 0.5 for CIFAR-10.
        recipe: definition of the changes.
            `"simclr"`: second version of SimCLR's code; contrast about the mean of each channel, saturation in HSV.
            `"simclr_v1"`: first version, also used by BYOL; brightness is instead a uniform summand in [-s * x, s * x].
            `"torchvision"`: contrast about the mean luma, saturation about the luma (MoCo, SwAV, Barlow Twins).
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

    def draw(self, seed: seeds.Seed, shape: maps.Shape) -> view.Draw:
        """Draws the four changes and their order.

        `brightness`, `contrast`, `saturation` [B]: factors (in `"simclr_v1"` the brightness to add); `hue` [B]:
        fraction of a turn; `order` [B, 4], int32: the first change, the second, ..., numbered as listed here.
        """
        unit = 2 * seed.uniform((8,)) - 1  # [B, 8] in [-1, 1)
        drawn = {"order": ops.cast(ops.argsort(unit[:, 4:], axis=-1), "int32")}
        for number, name in enumerate(("brightness", "contrast", "saturation", "hue")):
            largest = self.strength * getattr(self, name)
            if name == "hue" or (name == "brightness" and self.recipe == "simclr_v1"):
                drawn[name] = largest * unit[:, number]
            else:
                low = max(0.0, 1 - largest)
                drawn[name] = low + (1 + largest - low) * (unit[:, number] + 1) / 2
        return drawn

    def apply(self, images: Any, drawn: view.Draw) -> Any:
        """Applies the four changes in the drawn order."""
        _check_channels("Jitter", images)
        height, width, channels = images.shape[1:]
        planes = ops.transpose(ops.reshape(images, (-1, height * width, channels)), (0, 2, 1))  # [B, C, P]
        order = drawn["order"]
        hue_at = ops.argmax(ops.cast(order == _HUE, "int32"), axis=1)[:, None]  # [B, 1]
        slot = np.arange(3, dtype="int32")
        # Hue is by far the most expensive: it is rotated once, between the changes that come before and after it.
        kinds = ops.where(slot < hue_at, order[:, :3], order[:, 1:])  # [B, 3]
        first = 0
        if channels == 3 and self.hue * self.strength > 0:
            # For a single image it is known which these are; for a batch every slot is tried before and after.
            first, last = (hue_at[0, 0], hue_at[0, 0]) if execution.is_single(images) else (0, 3)
            planes = self._blends(planes, drawn, ops.where(slot < hue_at, kinds, _NOTHING), 0, last)
            planes = ops.clip(hue_turned(planes, drawn["hue"]), 0, 1)
            kinds = ops.where(slot < hue_at, _NOTHING, kinds)
        planes = self._blends(planes, drawn, kinds, first, 3)
        return ops.reshape(ops.transpose(planes, (0, 2, 1)), (-1, height, width, channels))  # [B, H, W, C]

    def _blends(self, planes, drawn, kinds, first, end):
        """Applies the changes `kinds` [B, 3] except hue, from slot `first` to `end`, clipping after each to [0, 1]."""
        masks = [ops.cast(kinds == kind, "float32")[:, :, None, None] for kind in range(3)]  # [B, 3, 1, 1] each

        def change(i, planes):
            return self._blend(planes, drawn, *(ops.take(mask, i, axis=1) for mask in masks))

        # This is a loop, because XLA would fuse three consecutive changes and compute them anew for each use.
        return ops.fori_loop(first, end, change, planes)

    def _blend(self, planes, drawn, brightness, contrast, saturation):
        """Applies at most one change per image: the one whose mask `[B, 1, 1]` is 1, not 0.

        All three are factor * x + (1 - factor) * reference, written so that a factor of 1 changes no bit of x. Masks
        are factors, because selecting between arrays that broadcast is several times slower on a CPU.
        """
        brighter, stronger, fuller = (drawn[name][:, None, None] for name in ("brightness", "contrast", "saturation"))
        added = 0.0
        factor = 1 + contrast * (stronger - 1) + saturation * (fuller - 1)  # [B, 1, 1]
        if self.recipe == "simclr_v1":
            added = brightness * brighter
        else:
            factor = factor + brightness * (brighter - 1)
        if self.recipe == "torchvision":
            gray = _luma(planes)  # [B, 1, P]
            mean = ops.mean(gray, axis=2, keepdims=True)  # [B, 1, 1]
            scale = factor
        else:
            gray = ops.max(planes, axis=1, keepdims=True)  # [B, 1, P]: HSV's value
            mean = ops.mean(planes, axis=2, keepdims=True)  # [B, C, 1]
            # HSV's saturation, (highest - lowest) / highest, is capped at 1.
            largest = gray / ops.maximum(gray - ops.min(planes, axis=1, keepdims=True), 1e-12)
            scale = ops.minimum(factor, largest + (1 - saturation) * 1e9)  # [B, 1, P]
        paler = saturation * (1 - scale) * gray  # [B, 1, P]
        return ops.clip(scale * planes + paler + (contrast * (1 - factor) * mean + added), 0, 1)


@dataclasses.dataclass(frozen=True)
class Grayscale(view.View):
    """Replaces all three channels by the luma (ITU-R BT.601); images of one channel stay as they are."""

    def apply(self, images: Any, drawn: view.Draw) -> Any:
        """Returns images of three equal channels."""
        _check_channels("Grayscale", images)
        if images.shape[-1] == 1:
            return images
        luma = ops.clip(colors.luma(images), 0, 1)  # [B, H, W, 1]
        return ops.repeat(luma, 3, axis=-1)


@dataclasses.dataclass(frozen=True)
class Solarize(view.View):
    """Inverts the pixels at or above `threshold`.

    Args:
        threshold: the lowest value that is inverted, in [0, 1].
    """

    threshold: float = 0.5

    def __post_init__(self):
        checks.fractions("Solarize", threshold=self.threshold)

    def apply(self, images: Any, drawn: view.Draw) -> Any:
        """Returns the images with their bright pixels inverted."""
        return ops.where(images >= self.threshold, 1 - images, images)
