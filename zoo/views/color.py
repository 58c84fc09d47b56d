"""Views that change colours: jitter, greyscale, solarisation.

Jitter as in SimCLR (Chen et al., 2020, https://arxiv.org/abs/2002.05709, Appendix A) or as in torchvision; solarisation
as in BYOL (Grill et al., 2020, https://arxiv.org/abs/2006.07733).
"""

import dataclasses
import difflib

import numpy as np
from keras import ops

from zoo.views import view

# ITU-R BT.601.
_LUMA = np.array([0.299, 0.587, 0.114], dtype="float32")
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)
_RECIPES = ("simclr", "simclr_v1", "torchvision")


def _grey(planes):
    """Luma of channel-first images, `[B, C, H, W] -> [B, 1, H, W]`."""
    if planes.shape[1] == 1:
        return planes
    return ops.sum(planes * _LUMA[:, None, None], axis=1, keepdims=True)


def hue_turned(planes, turn):
    """RGB images with their hue turned on the HSV cone.

    Args:
        planes: channel-first, in [0, 1], `[B, 3, H, W]`.
        turn: share of the full circle, `[B]`.

    Returns:
        `[B, 3, H, W]`.
    """
    red, green, blue = (planes[:, i] for i in range(3))  # [B, H, W] each
    value = ops.maximum(ops.maximum(red, green), blue)
    chroma = value - ops.minimum(ops.minimum(red, green), blue)
    safe = ops.where(chroma > 0, chroma, 1.0)
    hue = ops.where(
        value == red,
        (green - blue) / safe,
        ops.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )  # sixths of the circle, in [-1, 5]
    hue = hue + 6 * turn[:, None, None]

    def channel(offset):
        sector = ops.mod(offset + hue, 6)
        return value - chroma * ops.clip(ops.minimum(sector, 4 - sector), 0, 1)

    return ops.stack([channel(5), channel(3), channel(1)], axis=1)


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
            view.require(getattr(self, name) >= 0, "Jitter", f"`{name}` >= 0", **{name: getattr(self, name)})
        hue, strength = self.hue, self.strength
        view.require(hue * strength <= 0.5, "Jitter", "`hue * strength` <= 0.5", hue=hue, strength=strength)
        if self.recipe not in _RECIPES:
            near = difflib.get_close_matches(str(self.recipe), _RECIPES, n=1)
            raise ValueError(
                f"Jitter: expected `recipe` to be one of {', '.join(map(repr, _RECIPES))}. "
                f"Received: recipe={self.recipe!r}." + (f" Did you mean {near[0]!r}?" if near else "")
            )

    def draw(self, seed, shape):
        """What happens, and when.

        `brightness`, `contrast`, `saturation` [B]: factors (`simclr_v1`: the brightness to add); `hue` [B]: turn;
        `order` [B, 4], int32: which of the four, in this sequence, comes first, second, third, fourth.
        """
        unit = 2 * seed.fold(0).uniform((4,)) - 1  # [B, 4] in [-1, 1)
        drawn = {"order": seed.fold(1).permutation(4)}
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
        planes = ops.transpose(images, (0, 3, 1, 2))  # [B, C, H, W]
        order = drawn["order"]
        hue_at = ops.argmax(ops.cast(order == _HUE, "int32"), axis=1)[:, None]  # [B, 1]
        slot = np.arange(3, dtype="int32")
        # The three others close ranks; the hue, by far the dearest, is turned once, between those before and after it.
        blends = ops.where(slot < hue_at, order[:, :3], order[:, 1:])  # [B, 3]
        before = slot < hue_at  # [B, 3]
        if planes.shape[1] == 3 and self.hue * self.strength > 0:
            for i in range(3):
                planes = self._blend(planes, drawn, blends[:, i], before[:, i])
            planes = ops.clip(hue_turned(planes, drawn["hue"]), 0, 1)
            for i in range(3):
                planes = self._blend(planes, drawn, blends[:, i], ops.logical_not(before[:, i]))
        else:
            for i in range(3):
                planes = self._blend(planes, drawn, blends[:, i], ops.ones_like(before[:, i]))
        return ops.transpose(planes, (0, 2, 3, 1))  # [B, H, W, C]

    def _blend(self, planes, drawn, kind, active):
        """Brightness, contrast or saturation, as `kind` [B] says, where `active` [B]; clipped to [0, 1]."""
        kind = ops.where(active, kind, -1)[:, None, None, None]  # [B, 1, 1, 1]
        is_brightness, is_contrast, is_saturation = (ops.equal(kind, i) for i in (_BRIGHTNESS, _CONTRAST, _SATURATION))
        brightness, contrast, saturation = (
            drawn[name][:, None, None, None] for name in ("brightness", "contrast", "saturation")
        )
        factor = ops.where(is_contrast, contrast, ops.where(is_saturation, saturation, 1.0))
        added = 0.0
        if self.recipe == "simclr_v1":
            added = ops.where(is_brightness, brightness, 0.0)
        else:
            factor = ops.where(is_brightness, brightness, factor)
        if self.recipe == "torchvision":
            colourless = _grey(planes)  # [B, 1, H, W]
            mean = ops.mean(colourless, axis=(2, 3), keepdims=True)  # [B, 1, 1, 1]
        else:
            colourless = ops.max(planes, axis=1, keepdims=True)  # [B, 1, H, W]: the value V of HSV
            mean = ops.mean(planes, axis=(2, 3), keepdims=True)  # [B, C, 1, 1]
            # HSV's saturation (V - min) / V must not exceed 1.
            chroma = colourless - ops.min(planes, axis=1, keepdims=True)
            most = colourless / ops.maximum(chroma, 1e-12)
            factor = ops.where(is_saturation, ops.minimum(factor, most), factor)
        reference = ops.where(is_saturation, colourless, ops.where(is_contrast, mean, 0.0))
        # Written so that a factor of 1 leaves the pixels exactly as they are.
        return ops.clip(factor * planes + (1 - factor) * reference + added, 0, 1)


@dataclasses.dataclass(frozen=True)
class Grayscale(view.View):
    """Replaces all channels by the luma (ITU-R BT.601); one channel stays as it is."""

    def apply(self, images, drawn):
        """Equal channels."""
        if images.shape[-1] == 1:
            return images
        luma = ops.clip(ops.sum(images * _LUMA, axis=-1, keepdims=True), 0, 1)  # [B, H, W, 1]
        return ops.repeat(luma, 3, axis=-1)


@dataclasses.dataclass(frozen=True)
class Solarize(view.View):
    """Inverts the pixels at or above `threshold`.

    Args:
        threshold: in [0, 1].
    """

    threshold: float = 0.5

    def __post_init__(self):
        view.require(0 <= self.threshold <= 1, "Solarize", "`threshold` in [0, 1]", threshold=self.threshold)

    def apply(self, images, drawn):
        """Inverted in part."""
        return ops.where(images >= self.threshold, 1 - images, images)
