"""The methods and the augmentations A to E as PyContrast has them, each parameter against a literal."""

import gin
import pytest

from zoo.methods import comparisons, dictionaries
from zoo.models import norm
from zoo.tools import config
from zoo.views import blur, color, geometry, jigsaw, randaugment, view

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


def test_patches_are_cropped_and_flipped_alone():
    config.parse(["views/pycontrast_d.gin", "views/jigsaw.gin"], ["SIZE = 224"])
    *others, patches = config.binding("views").chains
    gin.clear_config()
    assert others == [view.Chain(CHAINS["d"])] * 2
    assert patches == view.Chain((geometry.Crop(255, area=(0.6, 1.0), antialias=True), FLIP, jigsaw.Jigsaw(3, 64)))


LINEAR, MLP = [128], [2048, 128]
# Towers, temperature, dictionary, widths of the head, widths of the head of patches.
METHODS = {
    "insdis": (("image",), 0.07, dictionaries.Instances, LINEAR, None),
    "pirl": (("image",), 0.07, dictionaries.Instances, LINEAR, LINEAR),
    "moco": (("image",), 0.07, dictionaries.Momentum, LINEAR, None),
    "moco_v2": (("image",), 0.2, dictionaries.Momentum, MLP, None),
    "infomin": (("image",), 0.15, dictionaries.Momentum, MLP, MLP),
    "cmc": (("luma", "chroma"), 0.07, dictionaries.Instances, LINEAR, None),
    "cmc_v2": (("luma", "chroma"), 0.2, dictionaries.Momentum, MLP, None),
    "cmc_jigsaw": (("luma", "chroma"), 0.07, dictionaries.Instances, LINEAR, LINEAR),
}


def widths_of(head):
    """Of its dense layers; between them are ReLUs, and no batch norm."""
    assert not any(isinstance(layer, norm.BatchNorm) for layer in head.layers)
    dense = [layer for layer in head.layers if hasattr(layer, "units")]
    assert all(layer.use_bias for layer in dense)
    return [layer.units for layer in dense]


@pytest.mark.parametrize("name", METHODS)
def test_method(name):
    towers, temperature, dictionary, widths, of_patches = METHODS[name]
    encoders = ["encoders/convnet_small.gin"] if towers == ("image",) else ["encoders/luma_chroma_small.gin"]
    config.parse([*encoders, f"methods/{name}.gin"], ["IMAGE_SHAPE = (8, 8, 3)", "EXAMPLES = 5000"])
    method = config.binding("method")()
    gin.clear_config()
    assert (method.title, method.names, method.temperature) == (name, towers, temperature)
    assert [widths_of(tower.projector) for tower in method.towers] == [widths] * len(towers)
    assert all(type(comparison) is comparisons.Softmax for comparison in method.comparisons)
    memory = method.dictionary
    assert type(memory) is dictionary and len(method.pairs) == len(towers)
    if dictionary is dictionaries.Momentum:
        assert memory.population == 65536 and [average.momentum for average in memory.averages] == [0.999] * len(towers)
    else:  # of as many negatives as the papers draw; PyContrast's are 65,536
        assert (memory.population, memory.negatives, memory.per_image) == (5000, 4096, True)
        assert [bank.momentum for bank in memory.banks] == [0.5] * len(towers)
    assert method.jigsaw_weight == 0.5 and bool(method.jigsaw_heads) == (of_patches is not None)
    for head in method.jigsaw_heads:
        assert widths_of(head) == [*of_patches, 128] and head.input_shape[1] == 9
