"""Reads a run and its results through the public loop: all that the golden files know of the library.

No data set is needed: every source holds the same few synthetic images, whatever its name and its size.
"""

import collections
import contextlib
import functools
import inspect
import pathlib
import tempfile
from unittest import mock

import gin
import keras
import numpy as np
import tensorflow as tf

from zoo.data import readers, sources, splits, tf_stores
from zoo.models import resnet
from zoo.tools import config
from zoo.train import loop

NAMES = sorted(path.stem for path in (pathlib.Path(__file__).parents[2] / "gin" / "runs").glob("*.gin"))
# Runs of a ResNet-50, which are described with one block in each of its groups and without their variables.
# `tests/test_gin.py` takes two steps.
LARGE = [name for name in NAMES if name.endswith("_imagenet")]
# Runs whose first steps are recorded. What the others compute is compared with NumPy in `tests/methods`.
TRAINED = [
    "byol_digits",
    "cmc_2_scenes",
    "cmc_3_scenes",
    "cmc_4_core_scenes",
    "cmc_4_scenes",
    "cmc_openclipart",
    "cmc_v2_openclipart",
    "exemplar_digits",
    "infomin_fashion_mnist",
    "insdis_fashion_mnist",
    "moco_fashion_mnist",
    "moco_plain_fashion_mnist",
    "moco_v2_fashion_mnist",
    "pirl_fashion_mnist",
    "simclr_convnet_fashion_mnist",
    "simclr_digits",
    "simclr_fashion_mnist",
    "simclr_openclipart",
    "swav_digits",
]
STEPS = 20
IMAGES = 64
# A run as it is, but for its sizes and its learning rate: 64 images in batches of 16, the smallest batch that the 8
# groups of MoCo's batch norm can divide. At the rates that the runs have, 20 steps on so few images turn a difference
# of 1e-7 into 1e-1; at a hundredth of the rate it stays below 1e-4, while a momentum of 0.8 for 0.9 makes 2e-3.
SMALL = (
    "sources.load.split = 'train[:64]'",
    "loop.run.batch_size = 16",
    "loop.run.precision = 'float32'",
    "loop.run.evaluators = ()",
    "schedules.WarmupCosine.base = 0.00075",
)
# Sizes that count images, by the text of the configuration that asks for them.
COUNTED = {
    "moco.MoCo": "moco.MoCo.queue_size = 48",
    "exemplar.Exemplar": "exemplar.Exemplar.queue_size = 48",
    "swav.SwAV": "swav.SwAV.prototypes = 12",
    "infomin.InfoMin": "infomin.InfoMin.queue_size = 48",
    "cmc_v2.CMCv2": "cmc_v2.CMCv2.queue_size = 48",
    "insdis.InsDis": "insdis.InsDis.num_candidates = 32",
    "pirl.PIRL": "pirl.PIRL.num_candidates = 32",
    "cmc.CMC": "cmc.CMC.num_candidates = 32",
}
# How many images the data sets really have, for the splits of the runs.
COUNTS = {
    "digits": {"train": 1297, "test": 500},
    "fashion_mnist": {"train": 60000, "test": 10000},
    "openclipart": {"train": 5417},
    "scenes": {"train": 12000, "test": 2000},
    "imagenet2012": {"train": 1281167},
}
SIDES = {"digits": 8, "fashion_mnist": 28, "scenes": 48, "openclipart": 64}
CHANNELS = {"digits": 1, "fashion_mnist": 1, "depth": 1}  # 3 for all others


@functools.cache
def pixels(feature, side, channels):
    """Smooth random pictures, a function of the arguments alone.

    Args:
        feature: name of an image feature of a data set, such as "image" or "depth".
        side: H and W.
        channels: C.

    Returns:
        np.uint8 `[IMAGES, side, side, channels]`.
    """
    # In integers, by the one generator whose numbers NumPy promises never to change: equal on every machine.
    coarse = np.random.RandomState(list(feature.encode())).randint(0, 256, (IMAGES, 5, 5, channels))
    place = np.arange(side) * 4 * 64 // side  # in 64ths of a cell
    cell, share = place // 64, place % 64
    rows = coarse[:, cell] * (64 - share)[:, None, None] + coarse[:, cell + 1] * share[:, None, None]
    share = share[:, None]
    return ((rows[:, :, cell] * (64 - share) + rows[:, :, cell + 1] * share) // 64**2).astype(np.uint8)


def _source(name, split, size, channels, extra=()):
    """Store, positions, ids and classes of a `sources.Source`: the same images over and over."""
    side = min(size or SIDES[name], 64)  # crops make of it what they like
    features = ("image", *extra)
    widths = {key: channels or CHANNELS.get(key, CHANNELS.get(name, 3)) for key in features}
    images = {key: tf.constant(pixels(key, side, width)) for key, width in widths.items()}
    store = tf_stores.Memory(images, np.arange(IMAGES) % 10)
    rows = splits.rows(split, COUNTS[name], name)
    return store, rows % IMAGES, rows, [str(label) for label in range(10)]


@contextlib.contextmanager
def synthetic_data():
    """Inside, `sources.load` finds synthetic images under every name."""

    def dataset(name, split, size, channels, data_dir, image, extra, max_pixels):
        del data_dir, image, max_pixels
        return _source(name, split, size, channels, extra)

    def digits(split, size, channels, in_memory):
        del in_memory
        return sources.Source("digits", split, *_source("digits", split, size, channels))

    # Not `load` itself, whose defaults are part of the configuration.
    with mock.patch.object(readers, "dataset", dataset), mock.patch.object(sources, "_digits", digits):
        yield


@contextlib.contextmanager
def shallow():
    """Inside, a ResNet-50 has four blocks instead of sixteen: every kind of block, in a quarter of the time."""
    factory = inspect.unwrap(resnet.resnet50)
    (cell,) = (c for c, n in zip(factory.__closure__, factory.__code__.co_freevars, strict=True) if n == "depths")
    depths, cell.cell_contents = cell.cell_contents, (1, 1, 1, 1)
    try:
        yield
    finally:
        cell.cell_contents = depths


class _Enough(Exception):
    """The run has shown what was asked for."""


class _Watch(keras.callbacks.Callback):
    """Looks at a run, and ends it after some steps."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.losses = steps, []

    def on_train_begin(self, logs=None):
        self.layers = layers(self.model)
        if not self.steps:
            raise _Enough

    def on_train_batch_end(self, batch, logs=None):
        # The shortest decimal number that is this float32.
        self.losses.append(float(str(np.float32(logs["loss"]))))
        if len(self.losses) == self.steps:
            self.trained = statistics(self.model, digits=9)
            raise _Enough


def _run(name, params, steps, **arguments):
    """Parses a run of `gin/runs` and takes its first steps; returns the `_Watch`."""
    keras.utils.clear_session()  # layers are numbered anew
    watch = _Watch(steps)
    depth = shallow() if name in LARGE else contextlib.nullcontext()
    with depth, synthetic_data(), tempfile.TemporaryDirectory() as folder:
        config.parse([f"runs/{name}.gin"], params)
        with contextlib.suppress(_Enough):
            gin.get_configurable(loop.run)(workdir=folder, config=gin.config_str(), callbacks=[watch], **arguments)
    return watch


def described(name, params=()):
    """Returns the description of a run, as configured; nothing is trained.

    Args:
        name: of a file of `gin/runs`.
        params: further bindings.

    Returns:
        Dictionary of "config" (parameter -> value), "layers" (settings of a layer -> how many layers have them) and
        "variables" (path -> dtype, shape, trainable, mean, deviation; not of a large run).
    """
    watch = _run(name, list(params), 0, ready=lambda record: config.refuse_unused())
    described = {"config": operative(), "layers": watch.layers}
    return described if name in LARGE else {**described, "variables": variables(watch.model)}


def trained(name):
    """Returns "losses" of the first steps of a run's small form, and "trained", path -> mean, deviation."""
    config.parse([f"runs/{name}.gin"], [])
    text = gin.config_str()
    params = [*SMALL, *(binding for asked, binding in COUNTED.items() if asked in text)]
    never = 10**9
    rhythm = loop.Rhythm(evaluate_every=never, save_every=never, log_every=never, steps_per_call=1)
    watch = _run(name, params, STEPS, rhythm=rhythm)
    return {"losses": watch.losses, "trained": watch.trained}


def operative():
    """The parameters of everything that the last run called, those left at their defaults too: name -> value, as text.

    Macros are replaced by their values.
    """
    # gin's own text leaves out what it could not parse again, such as a default that is a class, and all defaults of
    # decorated functions.
    found = {}
    for scope, selector in gin.config._OPERATIVE_CONFIG:
        if selector in ("gin.macro", "gin.constant"):
            continue
        values = _defaults(gin.config._REGISTRY[selector].wrapped)
        values |= gin.get_bindings("/".join(filter(None, (scope, selector))), resolve_references=False)
        name = "/".join(filter(None, (scope, selector.removeprefix("zoo."))))
        found |= {f"{name}.{parameter}": _text(value) for parameter, value in values.items()}
    return dict(sorted(found.items()))


def _defaults(function):
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def _text(value):
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_text, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, gin.config.ConfigurableReference):
        scope, _, macro = value.scoped_selector.rpartition("/")
        return _text(gin.query_parameter(f"{scope}/gin.macro.value")) if macro == "gin.macro" else repr(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)


def paths(method):
    """The variables of a method by path; those of the second tower, say, that has the same layers, end in " (2)"."""
    found, counts = {}, collections.Counter()
    for variable in method.variables:
        counts[variable.path] += 1
        number = counts[variable.path]
        found[variable.path if number == 1 else f"{variable.path} ({number})"] = variable
    return found


def variables(method):
    """Path -> dtype, shape, trainable, mean, deviation."""
    numbers = statistics(method)
    return {path: [v.dtype, list(v.shape), v.trainable, *numbers[path]] for path, v in paths(method).items()}


def statistics(method, digits=6):
    """Path -> mean and deviation."""
    found = {}
    for path, variable in paths(method).items():
        values = np.asarray(keras.ops.convert_to_numpy(variable), np.float64)
        found[path] = [float(f"{number:.{digits}g}") for number in (values.mean(), values.std())]
    return found


# Attributes that Keras gives to layers and that say nothing of what a layer computes.
_IGNORED = {
    "autocast",
    "built",
    "call_signature_parameters",
    "compiled",
    "data_format",
    "lora_enabled",
    "name",
    "stateful",
    "steps_per_execution",
    "stop_training",
    "supports_jit",
    "title",
    "trainable",
    "unrolled_steps_per_execution",
}
_HOLDERS = (keras.layers.InputLayer, keras.src.models.functional.Functional)


def layers(method):
    """The settings of the layers, as text -> how many layers have them."""
    found = collections.Counter()
    for layer in method._flatten_layers():
        if isinstance(layer, _HOLDERS):
            continue
        settings = {key: value for key, value in vars(layer).items() if key[0] != "_" and key not in _IGNORED}
        settings = [f"{key}={value!r}" for key, value in sorted(settings.items()) if _is_simple(value)]
        found[f"{type(layer).__name__}({', '.join(settings)})"] += 1
    return dict(sorted(found.items()))


def _is_simple(value):
    if isinstance(value, (tuple, list)):
        return all(map(_is_simple, value))
    return isinstance(value, (bool, int, float, str))
