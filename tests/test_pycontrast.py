"""The methods and the augmentations A to E as PyContrast has them, each parameter against a literal."""

import gin
import numpy as np
import pytest
from reference import presets

from zoo.methods import cmc, cmc_v2, infomin, insdis, moco, pirl
from zoo.methods import method as methods
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
    config.parse([f"views/pycontrast_{name}.gin"], ["geometry.Crop.size = 224"])
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
    """The blur is Pillow's, whose kernel reaches as far as it has weight."""
    chains = parsed("b").chains
    assert chains[0] == chains[1]
    *others, last = chains[0].steps
    assert others == [CROP, FLIP, view.Sometimes(jitter(0.4, 0.1), 0.8), GRAY]
    assert last.probability == 0.5 and last.view.sigma == (0.1, 2.0) and last.view.padding == "reflect"
    assert last.view.radius(224) >= 3 * 2.0


def test_blur_of_d_has_23_taps():
    assert 2 * SOFT.radius(224) + 1 == 23


def test_patches_are_cropped_and_flipped_alone():
    config.parse(["views/pycontrast_d.gin", "views/jigsaw.gin"], ["geometry.Crop.size = 224"])
    *others, patches = config.binding("views").chains
    gin.clear_config()
    assert others == [view.Chain(CHAINS["d"])] * 2
    assert patches == view.Chain((geometry.Crop(255, area=(0.6, 1.0), antialias=True), FLIP, jigsaw.Jigsaw(3, 64)))


LINEAR, MLP = [128], [2048, 128]
# Class, towers, temperature, memory, widths of the head, widths of the head of patches.
METHODS = {
    "insdis": (insdis.InsDis, ["image"], 0.07, "bank", LINEAR, None),
    "pirl": (pirl.PIRL, ["image"], 0.07, "bank", LINEAR, LINEAR),
    "moco": (moco.MoCo, ["image"], 0.07, "queue", LINEAR, None),
    "moco_v2": (moco.MoCo, ["image"], 0.2, "queue", MLP, None),
    "infomin": (infomin.InfoMin, ["image"], 0.15, "queue", MLP, MLP),
    "cmc": (cmc.CMC, ["joined", "luma", "chroma"], 0.07, "bank", LINEAR, None),
    "cmc_v2": (cmc_v2.CMCv2, ["joined", "luma", "chroma"], 0.2, "queue", MLP, None),
}
IMAGE, PATCHES = (8, 8, 3), (9, 4, 4, 3)


def widths_of(head):
    """Returns the widths of a head's dense layers; between them are ReLUs, and no batch norm."""
    assert not any(isinstance(layer, norm.BatchNorm) for layer in head.layers)
    dense = [layer for layer in head.layers if hasattr(layer, "units")]
    assert all(layer.use_bias for layer in dense)
    return [layer.units for layer in dense]


@pytest.mark.parametrize("name", METHODS)
def test_method(name):
    kind, encoders, temperature, memory, widths, patch_widths = METHODS[name]
    towers = encoders[1:] or encoders
    files = ["encoders/convnet_small.gin"] if towers == ["image"] else ["encoders/luma_chroma_small.gin"]
    config.parse([*files, f"methods/{name}.gin"], [])
    method = config.binding("method")()
    shapes = (IMAGE,) * (1 + (memory == "queue")) + (PATCHES,) * (patch_widths is not None)
    # So many images that a batch of 256 leaves room for the queue of 65,536.
    method.begin(methods.Spec(shapes, np.arange(5000 if memory == "bank" else 66_000), 256))
    gin.clear_config()
    parts = presets.parts(method)
    assert type(method) is kind and (method.title, method.temperature) == (name, temperature)
    assert list(method.encoders()) == encoders
    assert [widths_of(embedder.projector) for embedder in parts.embedders] == [widths] * len(towers)
    assert not parts.estimators  # a softmax
    if len(towers) > 1:
        assert method.towers.pairs == [(0, 1), (1, 0)]
    if memory == "queue":
        assert not parts.banks and [queue.size for queue in parts.queues] == [65536] * len(towers)
        assert [encoder.average.momentum for encoder in parts.key_encoders] == [0.999] * len(towers)
        assert [encoder.bn_groups for encoder in parts.key_encoders] == [8] * len(towers) and method.bn_groups == 8
    else:  # as many candidates as the papers draw; PyContrast draws 65,536
        assert not parts.queues and [bank.size for bank in parts.banks] == [5000] * len(towers)
        assert (method.num_candidates, method.per_image) == (4096, True)
        assert [bank.momentum for bank in parts.banks] == [0.5] * len(towers)
    assert len(parts.patch_embedders) == (patch_widths is not None)
    for embedder in parts.patch_embedders:
        assert method.jigsaw_weight == 0.5
        assert widths_of(embedder.head) == [*patch_widths, 128] and embedder.head.input_shape[1] == 9


@pytest.mark.parametrize("name", ["insdis", "cmc"])
def test_method_by_noise_contrast(name):
    towers = ["encoders/luma_chroma_small.gin"] if name == "cmc" else ["encoders/convnet_small.gin"]
    config.parse([*towers, f"methods/{name}_nce.gin"], [])
    method = config.binding("method")()
    method.begin(methods.Spec((IMAGE,), np.arange(5000), 256))
    gin.clear_config()
    estimators = presets.parts(method).estimators
    assert type(method) is METHODS[name][0] and method.title == name
    assert [(part.population, part.momentum) for part in estimators] == [(5000, 0.99)] * (2 if name == "cmc" else 1)
