"""The methods with a memory, as small as they get: the seven of PyContrast, and what lies between them."""

import numpy as np
from keras import ops

from zoo import seeds
from zoo.methods import comparisons, dictionaries, multiview
from zoo.models import convnet, heads
from zoo.views import color, geometry, jigsaw, view

SHAPE = (8, 8, 3)
DATA = 64  # images in the data
# Towers, jigsaw, dictionary.
PRESETS = {
    "insdis": ("image", False, "bank"),
    "moco": ("image", False, "queue"),
    "pirl": ("image", True, "bank"),
    "infomin": ("image", True, "queue"),
    "cmc": ("luma, chroma", False, "bank"),
    "cmc_v2": ("luma, chroma", False, "queue"),
    "cmc_jigsaw_bank": ("luma, chroma", True, "bank"),
    "cmc_jigsaw_queue": ("luma, chroma", True, "queue"),
}
# Each part at least once, where all would take long.
FEW = ("infomin", "cmc")
CHANNELS = {"luma": (0,), "chroma": (1, 2)}


def encoder(image_shape=SHAPE, **arguments):
    return convnet.convnet(image_shape, (4, 8), **arguments)


def projector(features):
    return heads.projector(features, (8, 4), batch_norm=False, use_bias=True)


def bank(towers, fresh, per_image=True, negatives=9):
    return dictionaries.Instances(towers, fresh, size=DATA, negatives=negatives, per_image=per_image)


def queue(towers, fresh, splits=4, size=32):
    return dictionaries.Momentum(towers, fresh, size=size, momentum=0.9, splits=splits)


def make(name, comparison=comparisons.Softmax, **changes):
    """One of the presets."""
    towers, puzzle, memory = PRESETS[name]
    encoders = encoder
    if towers != "image":
        encoders = tuple(
            (each, lambda each=each: encoder(space="ydbdr", channels=CHANNELS[each], name=each)) for each in CHANNELS
        )
    arguments = {
        "projector": projector,
        "dictionary": {"bank": bank, "queue": queue}[memory],
        "comparison": comparison,
        "temperature": 0.2,
        "jigsaw": (lambda features, width: heads.jigsaw(features, width, patches=4, widths=(5,))) if puzzle else None,
    }
    return multiview.Multiview(**{"encoder": encoders, **arguments, **changes})


def views(name):
    """The views of a preset."""
    _, puzzle, memory = PRESETS[name]
    image = view.Chain((geometry.Crop(8, area=(0.3, 1.0)), geometry.Flip(), view.Sometimes(color.Grayscale(), 0.2)))
    patches = view.Chain((geometry.Crop(8, area=(0.6, 1.0)), jigsaw.Jigsaw(grid=2, size=3)))
    return view.Views((image,) * (1 + (memory == "queue")) + (patches,) * puzzle)


def batch(name, seed=0, size=8):
    """Views of a preset, as tensors."""
    images = np.random.default_rng(seed).uniform(size=(size, *SHAPE)).astype("float32")
    made = views(name)(images, seeds.Seed(seed).fold(np.arange(size, dtype="int32")))
    return tuple(ops.convert_to_tensor(view) for view in made)
