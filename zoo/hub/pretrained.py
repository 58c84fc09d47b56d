"""Published encoders as plain Keras models: the card states the architecture, an HDF5 file holds the weights.

Nothing in a model folder is executed: the card names a factory of `zoo.models`, and the weights are arrays.
"""

import functools
import os
import pathlib
import tempfile
from collections.abc import Sequence

import h5py
import keras
import numpy as np

from zoo import checks
from zoo.hub import cards
from zoo.models import architecture, standardize

_POOLINGS = ("avg", "max", None)


def _check_arguments(include_top, weights, pooling, classes):
    if pooling not in _POOLINGS:
        raise ValueError(f"zoo.load: expected pooling 'avg', 'max' or None. Received: pooling={pooling!r}.")
    if include_top and pooling is None:
        raise ValueError("zoo.load: expected pooling 'avg' or 'max' below a classifier. Received: pooling=None.")
    if include_top and not checks.is_integer(classes):
        raise ValueError(
            "zoo.load: expected `classes`, the number of classes of the new classifier, with include_top=True "
            f"(encoders are published without a classifier). Received: classes={classes!r}."
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
    """The arguments of the architecture that differ from those that the card records."""
    shape = card["input"]["shape"]
    recorded = card["architecture"]["arguments"]
    wanted = {}
    if input_shape is not None:
        sizes = tuple(input_shape)
        if len(sizes) != 3 or not all(size is None or checks.is_integer(size) for size in sizes):
            raise ValueError(f"zoo.load: expected (height, width, channels). Received: input_shape={input_shape!r}.")
        if sizes[-1] is None:
            raise ValueError(f"zoo.load: expected a known number of channels. Received: input_shape={sizes}.")
        if list(sizes[:2]) != shape[:2]:
            wanted["image_shape"] = (*sizes[:2], shape[-1])
    if name is not None:
        wanted["name"] = name
    if "pooling" in recorded:
        if pooling != recorded["pooling"]:
            wanted["pooling"] = pooling
    elif pooling != "avg":
        # Encoders without a feature map, such as perceptrons, have nothing to pool and take no such argument.
        raise ValueError(
            f"zoo.load: expected pooling='avg', as {card['architecture']['factory']} has no feature map. "
            f"Received: pooling={pooling!r}."
        )
    return wanted


def _count_arrays(path):
    names = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, entry: names.append(name) if isinstance(entry, h5py.Dataset) else None)
    return len(names)


def _built(card, changes):
    """Returns the encoder that a card describes, with fresh weights."""
    record, name = card["architecture"], card["name"]
    try:
        encoder = architecture.build(record, **changes)
    except Exception as error:  # a card may come from anywhere, and hold any arguments
        if isinstance(error, ValueError) and "expected" in str(error):  # one of ours
            raise
        raise ValueError(
            f"zoo.load: expected an architecture that can be built, in the card of {name}. "
            f"Received: {record['factory']} ({type(error).__name__}: {error})."
        ) from error
    made = {"embedding": encoder.output_shape[-1]}
    stated = {"embedding": card["embedding"]}
    if "image_shape" not in changes:
        made["input.shape"], stated["input.shape"] = list(encoder.input_shape[1:]), card["input"]["shape"]
    if made != stated:
        raise ValueError(
            f"zoo.load: expected {made}, as the architecture has it, in the card of {name}. Received: {stated}."
        )
    return encoder


def _read_weights(model, data, shown, card, input_shape):
    """Reads the bytes of a weights file into a model.

    Keras opens a path: it gets that of a private copy, which nobody can change after its hash was checked.
    """
    with tempfile.TemporaryDirectory() as private:
        path = pathlib.Path(private) / cards.WEIGHTS
        path.write_bytes(data)
        try:
            # Keras ignores arrays that the model lacks, and would load the first layers of a deeper encoder.
            if _count_arrays(path) != len(model.variables):
                raise ValueError(f"{len(model.variables)} arrays are needed, {_count_arrays(path)} are stored")
            model.load_weights(path)
        except Exception as error:  # whatever h5py and Keras make of bytes from anywhere
            reason = str(error).replace(str(path), str(shown))
            if input_shape is not None and list(input_shape[:2]) != card["input"]["shape"][:2]:
                raise ValueError(
                    "zoo.load: expected an input_shape that leaves the shapes of the weights unchanged; "
                    f"{card['name']} has weights for {card['input']['shape']}. "
                    f"Received: input_shape={tuple(input_shape)} ({reason})."
                ) from error
            raise ValueError(
                f"zoo.load: expected weights of {card['architecture']['factory']} with the arguments of "
                f"{card['name']}. Received: weights={str(shown)!r} ({reason})."
            ) from error


def _with_range_check(model):
    """Makes `predict`, `evaluate` and `fit` warn of arrays out of range; the compiled graph cannot warn."""

    def add_check(name, function):
        @functools.wraps(function)
        def checked(x=None, *args, **kwargs):
            if isinstance(x, np.ndarray) and x.size:
                standardize.warn_of_range(float(np.max(x)))
            return function(x, *args, **kwargs)

        vars(model)[name] = checked

    for name in ("predict", "evaluate", "fit"):
        add_check(name, getattr(model, name))
    return model


def load(
    name_or_path: str | os.PathLike,
    include_top: bool = False,
    weights: str | os.PathLike | None = "pretrained",
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = "avg",
    classes: int | None = None,
    classifier_activation: str | None = "softmax",
    trainable: bool = True,
    name: str | None = None,
) -> keras.Model:
    """Loads a published encoder as a plain functional `keras.Model`; arguments as in `keras.applications`.

    Every file of the model folder is first checked against the SHA-256 in the card. The model takes float32 images
    `[B, H, W, C]` in [0, 1]; the first layer standardizes them.

    Args:
        name_or_path: a name, see `zoo.list_models`, or the path of a model folder.
        include_top: whether to add an untrained layer `predictions` of `classes` units. Encoders are trained without
            labels, so there is no trained classifier.
        weights: `"pretrained"`, `None` for random weights, or the path of a `.weights.h5` file of the same
            architecture.
        input_shape: `(H, W, C)`; that of the card by default. Convolutional encoders accept any height and width,
            which may be `None`. For other channels than those of the card, the weights of the first convolution are
            added, or repeated and scaled, see `zoo.models.architecture.rechanneled`.
        pooling: `"avg"` or `"max"` for features `[B, F]`, `None` for the last feature map `[B, h, w, F]`.
        classes: number of units of the classifier; required with `include_top`.
        classifier_activation: activation of the classifier, `None` for logits.
        trainable: whether the encoder is trainable; a classifier on top always is.
        name: name of the model; that of the architecture by default.

    Returns:
        `keras.Model` `[B, H, W, C] -> [B, F]`, with attributes `pyramid_outputs` (feature maps by level; `P2` has
        stride 4) and `architecture` (the record from which the model was built). With `include_top`,
        `[B, H, W, C] -> [B, classes]`.

    Raises:
        ValueError: an unknown name, an altered or missing file, or arguments that do not fit the model.
    """
    _check_arguments(include_top, weights, pooling, classes)
    folder = cards.find(name_or_path)
    card = cards.read(folder)
    kept = cards.verify(folder, card, [cards.WEIGHTS] if weights == "pretrained" else [])
    changes = _changes(card, input_shape, pooling, None if include_top else name)
    encoder = _built(card, changes)
    if weights == "pretrained":
        _read_weights(encoder, kept[cards.WEIGHTS], folder / cards.WEIGHTS, card, input_shape)
    elif weights is not None:
        _read_weights(encoder, pathlib.Path(weights).read_bytes(), weights, card, input_shape)
    if input_shape is not None and input_shape[-1] != card["input"]["shape"][-1]:
        encoder = architecture.rechanneled(encoder, int(input_shape[-1] or 0))
    encoder.trainable = trainable
    if not include_top:
        return _with_range_check(encoder)
    predictions = keras.layers.Dense(classes, activation=classifier_activation, name="predictions")(encoder.output)
    model = keras.Model(encoder.input, predictions, name=name or encoder.name)
    # Bypasses Keras' attribute setter, which would track and save the symbolic tensors.
    vars(model)["pyramid_outputs"] = encoder.pyramid_outputs
    return _with_range_check(model)
