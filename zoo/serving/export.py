"""Export: an encoder becomes one folder with its card, its weights for Keras and a SavedModel that needs no Keras."""

import pathlib

import keras
import tensorflow as tf

from zoo import files
from zoo.hub import cards, schema
from zoo.serving import signatures, warmup_requests

_COLOR_SPACES = {1: "gray", 3: "rgb"}
# How image files of any size are brought to the encoder's: the encoder does not know, the defaults are `zoo.data`'s.
_FREE = ("interpolation", "antialias", "crop")


def _input_record(encoder, record):
    """`input` of the card: what the encoder's architecture says, with how to resize image files from `record`."""
    shape = list(encoder.input_shape[1:])
    if None in shape:
        raise ValueError(f"export: expected an encoder of a fixed input shape. Received: input_shape={shape}.")
    if shape[-1] not in _COLOR_SPACES:
        raise ValueError(f"export: expected images of 1 or 3 channels. Received: input_shape={shape}.")
    arguments = encoder.architecture["arguments"]
    # An encoder that keeps layers of its head records the encoder proper inside; several as one record each.
    parts = arguments.get("encoders") or [arguments.get("encoder") or {"arguments": arguments}]
    ways = [_standardised(part["arguments"]) for part in parts]
    # Encoders side by side may each have a way of their own: then nothing is true of the images that all take.
    mean, std = ways[0] if all(way == ways[0] for way in ways) else (0.0, 1.0)
    derived = {
        "shape": shape,
        "range": [0, 1],
        "mean": mean,
        "std": std,
        "color_space": _COLOR_SPACES[shape[-1]],
        "interpolation": "bilinear",
        "antialias": True,
        "crop": "center",
    }
    for name, value in record.items():
        if name in derived and name not in _FREE and value != derived[name]:
            raise ValueError(f"export: expected the encoder's input.{name}={derived[name]}. Received: {value}.")
    return {**derived, **record}


def _standardised(arguments):
    """Mean and deviation of the images that an encoder standardises, which are none where it converts them first."""
    converted = arguments.get("space", "rgb") != "rgb" or arguments.get("channels")
    return (0.0, 1.0) if converted else (arguments["mean"], arguments["std"])


def _complete(encoder, card):
    """The card with everything that can be read off the encoder."""
    if not hasattr(encoder, "architecture"):
        raise ValueError(
            "export: expected an encoder made by a factory of zoo.models, which records its architecture. "
            f"Received: encoder={type(encoder).__name__} {encoder.name!r}."
        )
    if len(encoder.output_shape) != 2:
        raise ValueError(f"export: expected pooled features [B, F]. Received: output_shape={encoder.output_shape}.")
    levels = encoder.pyramid_outputs
    derived = {
        "architecture": encoder.architecture,
        "embedding": encoder.output_shape[-1],
        "features": {level: list(tensor.shape[1:]) for level, tensor in levels.items()},
    }
    for name, value in derived.items():
        if name in card and card[name] != value:
            raise ValueError(f"export: expected no {name} in the card, or the encoder's. Received: {card[name]!r}.")
    order = ("name", "description", "limitations")
    return {
        "card_version": schema.VERSION,
        **{name: card[name] for name in order if name in card},
        **derived,
        "input": _input_record(encoder, card.get("input", {})),
        "training": {},
        "results": [],
        **{name: value for name, value in card.items() if name not in (*order, "input", "files")},
        "files": {cards.WEIGHTS: {"sha256": "0" * 64, "bytes": 0}},
    }


def _check_place(folder, overwrite):
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise ValueError(f"export: expected the path of a folder. Received: folder={str(folder)!r}, which is a file.")
    if not any(folder.iterdir()):
        return
    if not overwrite:
        raise ValueError(
            f"export: expected a new folder, or overwrite=True. Received: folder={str(folder)!r}, which exists."
        )
    # A slip in the path must not cost anyone a home folder.
    if not (folder / cards.CARD).is_file():
        raise ValueError(
            f"export: expected to overwrite a model folder, with a {cards.CARD}. Received: folder={str(folder)!r}."
        )


def export(encoder, folder, card, warmup=True, overwrite=False):
    """Writes an encoder as a published model: `zoo.load(folder)` and `tf.saved_model.load(folder)` both read it.

    The SavedModel answers three signatures, each for any batch size:

    * `serving_default`: `images` float32 `[B, H, W, C]` in [0, 1] -> `embedding` `[B, F]`,
    * `encode_bytes`: `image_bytes` string `[B]`, image files of any size -> `embedding`,
    * `features`: `images` -> `embedding` and the encoder's maps, `P2` with a stride of 4 pixels, `P3` of 8, and so on,

    and can be fine-tuned: `loaded(images, training=True)` with `loaded.trainable_variables`. The folder appears in one
    step, complete, or not at all.

    Args:
        encoder: functional `keras.Model` `[B, H, W, C] -> [B, F]` from a factory of `zoo.models`.
        folder: path of the new folder; its parent is made when missing.
        card: the parts of the card that the encoder cannot tell: `name`, `description`, `training`, `license`,
            `citation`, and optionally `results`, `limitations` and `input`, with `interpolation`, `antialias` and
            `crop` for image files of another size.
        warmup: whether to write requests that TensorFlow Serving replays before the model goes live.
        overwrite: whether to replace an existing model folder.

    Returns:
        The written card.

    Raises:
        ValueError: an existing folder, an encoder without a record, an incomplete card.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"export: expected the environment to say KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()!r}."
        )
    folder = pathlib.Path(folder).absolute()
    _check_place(folder, overwrite)
    complete = schema.check(_complete(encoder, card))
    with files.folder(folder, overwrite) as place:
        endpoints = signatures.endpoints(encoder, complete["input"])
        tf.saved_model.save(signatures.Reusable(encoder), str(place), signatures=endpoints)
        encoder.save_weights(place / cards.WEIGHTS)
        if warmup:
            warmup_requests.write(place, complete["name"], tuple(complete["input"]["shape"]))
        complete["files"] = cards.contents(place)
        cards.write(complete, place)
    return complete
