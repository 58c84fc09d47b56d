"""The methods with a memory at the size of tests: the seven presets of PyContrast."""

import functools
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from zoo import seeds
from zoo.methods import cmc, cmc_v2, infomin, insdis, moco, pirl
from zoo.methods import method as methods
from zoo.methods import nce as estimators
from zoo.models import convnet, heads
from zoo.views import color, geometry, jigsaw, view

SHAPE = (8, 8, 3)
DATA = 64  # images in the data
BATCH = 8


class Preset(NamedTuple):
    """A method and what distinguishes it.

    Args:
        method: the class.
        towers: names of the encoders.
        memory: "bank" or "queue".
        patches: whether there is a jigsaw branch.
        arguments: of the constructor, beside those of `make`.
    """

    method: type
    towers: tuple
    memory: str
    patches: bool = False
    arguments: dict[str, Any] = {}


CHANNELS = {"luma": (0,), "chroma": (1, 2)}


def encoder(image_shape=SHAPE, **arguments):
    return convnet.convnet(image_shape, (4, 8), **arguments)


def projector(features, widths=(8, 4)):
    return heads.projector(features, widths, batch_norm=False, use_bias=True)


linear = functools.partial(projector, widths=(4,))

PRESETS = {
    "insdis": Preset(insdis.InsDis, ("image",), "bank"),
    "pirl": Preset(pirl.PIRL, ("image",), "bank", patches=True),
    "moco": Preset(moco.MoCo, ("image",), "queue", arguments={"projector": linear, "temperature": 0.07}),
    "moco_v2": Preset(moco.MoCo, ("image",), "queue"),
    "infomin": Preset(infomin.InfoMin, ("image",), "queue", patches=True),
    "cmc": Preset(cmc.CMC, ("luma", "chroma"), "bank"),
    "cmc_v2": Preset(cmc_v2.CMCv2, ("luma", "chroma"), "queue"),
}
# Presets that can be trained by noise-contrastive estimation.
WITH_NCE = ("insdis", "cmc")
# Every part at least once, where all presets would take long.
FEW = ("infomin", "cmc")
nce = estimators.NCE


def make(name, **changes):
    """Returns one of the presets before its `begin`; `changes` are arguments of the constructor."""
    preset = PRESETS[name]
    arguments = {"projector": projector, "temperature": 0.2}
    if preset.towers == ("image",):
        arguments["encoder"] = encoder
    else:
        arguments["encoders"] = [
            (tower, functools.partial(encoder, space="ydbdr", channels=CHANNELS[tower], name=tower))
            for tower in preset.towers
        ]
    if preset.memory == "bank":
        arguments["num_candidates"] = 9
    else:
        arguments |= {"queue_size": 32, "momentum": 0.9, "bn_groups": 4}
    if preset.patches:
        arguments["jigsaw_head"] = functools.partial(heads.jigsaw, widths=(5,))
    return preset.method(**{**arguments, **preset.arguments, **changes})


def spec(name, **changes):
    """Returns the `Spec` of a run of a preset, with some fields changed."""
    preset = PRESETS[name]
    shapes = (SHAPE,) * (1 + (preset.memory == "queue")) + ((4, 3, 3, 3),) * preset.patches
    return methods.Spec(shapes, np.arange(DATA), BATCH)._replace(**changes)


def begun(name, **changes):
    """Returns one of the presets after its `begin`; arguments as for `make`."""
    method = make(name, **changes)
    method.begin(spec(name))
    return method


class Parts(NamedTuple):
    """The parts of a method after its `begin`, a list entry for every tower; empty where it has none.

    Args:
        embedders: trained networks, images to unit vectors.
        key_encoders: `memory.MomentumEncoder`s.
        queues: `memory.MomentumQueue`s.
        banks: `memory.MemoryBank`s.
        estimators: `nce.NCE`s.
        patch_embedders: `jigsaw.PatchEmbedder`s.
    """

    embedders: list
    key_encoders: list
    queues: list
    banks: list
    estimators: list
    patch_embedders: list


def parts(method):
    """Returns the parts of a preset."""

    def found(*names):
        values = (getattr(method, name, None) for name in names)
        lists = (list(value) if isinstance(value, list | tuple) else [value] for value in values if value is not None)
        return [part for values in lists for part in values if part is not None]

    return Parts(
        found("networks", "embedder", "query_encoder"),
        found("key_encoders", "key_encoder"),
        found("queues", "queue"),
        found("banks", "bank"),
        found("estimators", "estimator"),
        found("patch_embedder"),
    )


def pairs(name):
    """Returns which tower's queries meet which tower's memory."""
    return [(0, 0)] if len(PRESETS[name].towers) == 1 else [(0, 1), (1, 0)]


def views(name):
    """Returns the views of a preset."""
    preset = PRESETS[name]
    image = view.Chain((geometry.Crop(8, area=(0.3, 1.0)), geometry.Flip(), view.Sometimes(color.Grayscale(), 0.2)))
    patches = view.Chain((geometry.Crop(8, area=(0.6, 1.0)), jigsaw.Jigsaw(grid=2, size=3)))
    return view.Views((image,) * (1 + (preset.memory == "queue")) + (patches,) * preset.patches)


def images(name, seed=0, size=BATCH):
    """Returns the views of random images, a tuple of tensors."""
    pixels = np.random.default_rng(seed).uniform(size=(size, *SHAPE)).astype("float32")
    made = views(name)(pixels, seeds.Seed(seed).fold(np.arange(size, dtype="int32")))
    return tuple(ops.convert_to_tensor(view) for view in made)


def batch(name, seed=0, size=BATCH, ids=None):
    """Returns a `Batch` of a preset, of the images `ids`, or of the first ones."""
    ids = ops.convert_to_tensor(np.arange(size, dtype="int32") if ids is None else np.asarray(ids, "int32"))
    return methods.Batch(images(name, seed, size), ids, ops.full(ids.shape, -1, "int32"))


def step(number=0):
    """Returns the `Step` of a run of twenty steps, four an epoch."""
    return methods.Step(ops.convert_to_tensor(number, "int32"), 20, 4)
