"""Published encoders as plain Keras models: the architecture is rebuilt from the card, the weights are read from HDF5.

Nothing in a model folder is executed: a card names a factory of `zoo.models`, and weights are arrays.
"""

import functools
import os
import pathlib

import h5py
import keras
import numpy as np

from zoo.hub import cards
from zoo.models import architecture, standardize

_POOLINGS = ("avg", "max", None)


def _check_arguments(include_top, weights, pooling, classes):
    if pooling not in _POOLINGS:
        raise ValueError(f"zoo.load: expected pooling 'avg', 'max' or None. Received: pooling={pooling!r}.")
    if include_top and pooling is None:
        raise ValueError("zoo.load: expected pooling 'avg' or 'max' below a classifier. Received: pooling=None.")
    is_count = isinstance(classes, int) and not isinstance(classes, bool) and classes >= 1
    if include_top and not is_count:
        raise ValueError(
            "zoo.load: expected the number of classes of the new classifier with include_top=True "
            f"(encoders are published without one). Received: classes={classes!r}."
        )
    if not include_top and classes is not None:
        raise ValueError(f"zoo.load: expected classes only with include_top=True. Received: classes={classes!r}.")
    if weights in (None, "pretrained"):
        return
    if not isinstance(weights, str | os.PathLike) or not os.fspath(weights).endswith(".weights.h5"):
        raise ValueError(
            "zoo.load: expected weights 'pretrained', None or the path of a .weights.h5 file. "
            f"Received: weights={weights!r}."
        )
    if not pathlib.Path(weights).is_file():
        raise ValueError(f"zoo.load: expected an existing file. Received: weights={str(weights)!r}.")


def _changes(card, input_shape, pooling, name):
    """What differs from the recorded arguments of the architecture; an unknown argument is left to the factory."""
    shape = card["input"]["shape"]
    recorded = card["architecture"]["arguments"]
    wanted = {}
    if input_shape is not None:
        sizes = tuple(input_shape)
        if len(sizes) != 3 or any(not (size is None or (isinstance(size, int) and size >= 1)) for size in sizes):
            raise ValueError(f"zoo.load: expected (height, width, channels). Received: input_shape={input_shape!r}.")
        if sizes[-1] != shape[-1]:
            raise ValueError(
                f"zoo.load: expected {shape[-1]} channels ({card['input']['color_space']}), as in the card of "
                f"{card['name']}. Received: input_shape={sizes}."
            )
        if list(sizes) != shape:
            wanted["image_shape"] = sizes
    if name is not None:
        wanted["name"] = name
    if "pooling" in recorded:
        if pooling != recorded["pooling"]:
            wanted["pooling"] = pooling
    elif pooling != "avg":
        # Encoders without a map, such as perceptrons, have nothing to pool and take no such argument.
        raise ValueError(
            f"zoo.load: expected pooling='avg', as {card['architecture']['factory']} has no map of features. "
            f"Received: pooling={pooling!r}."
        )
    return wanted


def _count_arrays(path):
    names = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, entry: names.append(name) if isinstance(entry, h5py.Dataset) else None)
    return len(names)


def _read_weights(model, path, card, input_shape):
    try:
        # Keras ignores what a file holds beyond the model, and so would take the start of a deeper encoder.
        if _count_arrays(path) != len(model.variables):
            raise ValueError(f"{len(model.variables)} arrays are needed, {_count_arrays(path)} are stored")
        model.load_weights(path)
    except (ValueError, OSError) as error:
        if input_shape is not None and list(input_shape) != card["input"]["shape"]:
            raise ValueError(
                f"zoo.load: expected an input_shape under which the weights keep their shapes; those of {card['name']} "
                f"were made for {card['input']['shape']}. Received: input_shape={tuple(input_shape)} ({error})."
            ) from error
        raise ValueError(
            f"zoo.load: expected weights of {card['architecture']['factory']} as {card['name']} records it. "
            f"Received: weights={str(path)!r} ({error})."
        ) from error


def _watched(model):
    """Makes `predict`, `evaluate` and `fit` look at arrays before the graph does, in which nothing can warn."""

    def watch(name, function):
        @functools.wraps(function)
        def watched(x=None, *args, **kwargs):
            if isinstance(x, np.ndarray) and x.size:
                standardize.warn_of_range(float(np.max(x)))
            return function(x, *args, **kwargs)

        vars(model)[name] = watched

    for name in ("predict", "evaluate", "fit"):
        watch(name, getattr(model, name))
    return model


def load(
    name_or_path,
    include_top=False,
    weights="pretrained",
    input_shape=None,
    pooling="avg",
    classes=None,
    classifier_activation="softmax",
    trainable=True,
    name=None,
):
    """A published encoder as a plain functional `keras.Model`; arguments as in `keras.applications`.

    Every file of the model folder is checked against the SHA-256 in its card first. The model eats float32 images
    `[B, H, W, C]` in [0, 1]; standardising them is its first layer.

    Args:
        name_or_path: a name, see `zoo.list_models`, or the path of a model folder.
        include_top: whether to add a fresh, untrained layer `predictions` of `classes` units. Encoders are trained
            without labels, so no trained classifier exists.
        weights: `"pretrained"`, `None` for fresh weights, or the path of a `.weights.h5` file of the same architecture.
        input_shape: `(H, W, C)` other than the card's; convolutional encoders accept any height and width, which may
            be `None`. The channels are fixed.
        pooling: `"avg"` or `"max"` for features `[B, F]`, `None` for the last map `[B, h, w, F]`.
        classes: units of the classifier; required with `include_top`.
        classifier_activation: its activation, `None` for logits.
        trainable: whether the encoder is trainable; a classifier on top always is.
        name: name of the model; the architecture's by default.

    Returns:
        `keras.Model` `[B, H, W, C] -> [B, F]`, with `pyramid_outputs` (`P2` is the map of stride 4, and so on) and
        `architecture` (the record from which it was built). With `include_top`, `[B, H, W, C] -> [B, classes]`.

    Raises:
        ValueError: unknown name, an altered or missing file, or arguments that do not fit the model.
    """
    _check_arguments(include_top, weights, pooling, classes)
    folder = cards.find(name_or_path)
    card = cards.opened(folder)
    changes = _changes(card, input_shape, pooling, None if include_top else name)
    encoder = architecture.build(card["architecture"], **changes)
    if weights is not None:
        path = folder / cards.WEIGHTS if weights == "pretrained" else pathlib.Path(weights)
        _read_weights(encoder, path, card, input_shape)
    encoder.trainable = trainable
    if not include_top:
        return encoder
    predictions = keras.layers.Dense(classes, activation=classifier_activation, name="predictions")(encoder.output)
    model = keras.Model(encoder.input, predictions, name=name or encoder.name)
    # Past Keras' own attribute setter: symbolic tensors are nothing to track or to save.
    vars(model)["pyramid_outputs"] = encoder.pyramid_outputs
    return _watched(model)
