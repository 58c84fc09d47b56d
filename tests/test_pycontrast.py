"""The augmentations A to E as PyContrast has them, each parameter against a literal."""

import gin
import pytest

from zoo.tools import config
from zoo.views import blur, color, geometry, randaugment, view

CROP = geometry.Crop(224, area=(0.2, 1.0), antialias=True)
FLIP = geometry.Flip(0.5)
GRAY = view.Sometimes(color.Grayscale(), 0.2)
SOFT = blur.Blur((0.1, 2.0), fraction=0.1, padding="reflect")


def jitter(strength, hue):
    return color.Jitter(strength, strength, strength, hue, recipe="torchvision")


CHAINS = {
    "a": (CROP, FLIP, jitter(0.4, 0.4), GRAY),
    "c": (CROP, FLIP, jitter(0.4, 0.1)),
    "d": (
        CROP,
        FLIP,
        view.Sometimes(jitter(0.8, 0.2), 0.8),
        view.Sometimes(SOFT, 0.5),
        randaugment.RandAugment(2, 10.0, 0.5, 0.5, randaugment.STANDARD),
        GRAY,
    ),
    "e": (
        CROP,
        FLIP,
        view.Sometimes(jitter(0.4, 0.1), 0.8),
        view.Sometimes(SOFT, 0.5),
        randaugment.RandAugment(2, 10.0, 0.5, 0.5, randaugment.CMC),
    ),
}


def parsed(name):
    config.parse([f"views/pycontrast_{name}.gin"], ["SIZE = 224"])
    found = config.binding("views")
    gin.clear_config()
    return found


@pytest.mark.parametrize("name", CHAINS)
def test_chain(name):
    chains = parsed(name).chains
    assert len(chains) == 2 and chains[0] == chains[1]
    for step, expected in zip(chains[0].steps, CHAINS[name], strict=True):
        assert step == expected


def test_chain_b():
    """Its blur is Pillow's, whose kernel reaches as far as it has weight."""
    chains = parsed("b").chains
    assert chains[0] == chains[1]
    *others, last = chains[0].steps
    assert others == [CROP, FLIP, view.Sometimes(jitter(0.4, 0.1), 0.8), GRAY]
    assert last.probability == 0.5 and last.view.sigma == (0.1, 2.0) and last.view.padding == "reflect"
    assert last.view.radius(224) >= 3 * 2.0


def test_blur_of_d_has_23_taps():
    assert 2 * SOFT.radius(224) + 1 == 23
