"""Export: an encoder becomes a folder with a card, weights for Keras and a SavedModel that does not need Keras."""

import pathlib
from typing import Any

import keras
import tensorflow as tf

from zoo import checks, files
from zoo.hub import cards, schema
from zoo.serving import signatures, warmup_requests

_COLOR_SPACES = {1: "gray", 3: "rgb"}
# How image files are brought to the encoder's size. The encoder does not know; these are the defaults of `zoo.data`.
_RESIZING = {"interpolation": "bilinear", "antialias": True, "crop": "center"}


def _input_record(encoder: keras.Model, record: dict[str, Any]) -> dict[str, Any]:
    """Returns `input` of the card: what the architecture says, and from `record` how to resize image files."""
    shape = list(encoder.input_shape[1:])
    checks.require(None not in shape, "export", "an encoder of a fixed input shape", input_shape=shape)
    checks.require(shape[-1] in _COLOR_SPACES, "export", "images of 1 or 3 channels", input_shape=shape)
    arguments = encoder.architecture["arguments"]
    # An encoder that keeps layers of its head records the encoder proper inside; joined ones as one record each.
    parts = arguments.get("encoders") or [arguments.get("encoder") or {"arguments": arguments}]
    statistics = [_statistics(part["arguments"]) for part in parts]
    # Joined encoders may differ: then nothing is true of the images that all of them take.
    mean, std = statistics[0] if all(pair == statistics[0] for pair in statistics) else (0.0, 1.0)
    color_space = _COLOR_SPACES[shape[-1]]
    known = {"shape": shape, "range": [0, 1], "mean": mean, "std": std, "color_space": color_space}
    for name in known.keys() & record.keys():
        is_same = record[name] == known[name]
        checks.require(is_same, "export", f"the encoder's input.{name}={known[name]}", **{name: record[name]})
    return {**known, **_RESIZING, **record}


def _statistics(arguments: dict[str, Any]) -> tuple[Any, Any]:
    """Returns mean and deviation of the images that an encoder standardizes; none where it converts them first."""
    is_converted = arguments.get("space", "rgb") != "rgb" or arguments.get("channels")
    return (0.0, 1.0) if is_converted else (arguments["mean"], arguments["std"])


def _complete(encoder: keras.Model, card: dict[str, Any]) -> dict[str, Any]:
    """Returns the card with everything that can be read off the encoder."""
    expected = "an encoder made by a factory of zoo.models, which records its architecture"
    checks.require(hasattr(encoder, "architecture"), "export", expected, encoder=encoder)
    shape = encoder.output_shape
    checks.require(len(shape) == 2, "export", "an encoder of pooled features [B, F]", output_shape=shape)
    derived = {
        "architecture": encoder.architecture,
        "embedding": shape[-1],
        "features": {level: list(tensor.shape[1:]) for level, tensor in encoder.pyramid_outputs.items()},
    }
    for name in derived.keys() & card.keys():
        is_same = card[name] == derived[name]
        checks.require(is_same, "export", f"no {name} in the card, or the encoder's", **{name: card[name]})
    first: dict[str, Any] = {name: card[name] for name in ("name", "description", "limitations") if name in card}
    return {
        "card_version": schema.VERSION,
        **first,
        **derived,
        "input": _input_record(encoder, card.get("input", {})),
        "training": {},
        "results": [],
        **{name: value for name, value in card.items() if name not in (*first, "input", "files")},
        "files": {cards.WEIGHTS: {"sha256": "0" * 64, "bytes": 0}},
    }


def _check_place(folder: pathlib.Path, overwrite: bool) -> None:
    is_folder = folder.is_dir() and not folder.is_symlink()
    is_free = is_folder and not any(folder.iterdir()) or not folder.exists() and not folder.is_symlink()
    if not is_free:
        checks.require(is_folder, "export", "the path of a folder, not a file", folder=str(folder))
        checks.require(overwrite, "export", "a new folder, or overwrite=True", folder=str(folder))
        # A slip in the path must not cost anyone a home folder.
        is_model = (folder / cards.CARD).is_file()
        checks.require(is_model, "export", f"to overwrite a model folder, with a {cards.CARD}", folder=str(folder))


def export(
    encoder: keras.Model,
    folder: str | pathlib.Path,
    card: dict[str, Any],
    warmup: bool = True,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes an encoder as a published model: `zoo.load(folder)` and `tf.saved_model.load(folder)` both read it.

    The SavedModel has three signatures, for any batch size:

    * `serving_default`: `images` float32 `[B, H, W, C]` in [0, 1] -> `embedding` `[B, F]`,
    * `encode_bytes`: `image_bytes` string `[B]`, image files of any size -> `embedding`; see
      `zoo.data.images.decodable` for what it refuses, and `zoo-serve` accepts,
    * `features`: `images` -> `embedding` and the encoder's maps, `P2` with a stride of 4 pixels, `P3` of 8, and so on.

    It can be fine-tuned: `loaded(images, training=True)` with `loaded.trainable_variables`. The folder appears in one
    step, complete, or not at all.

    Args:
        encoder: functional `keras.Model` `[B, H, W, C] -> [B, F]` from a factory of `zoo.models`.
        folder: path of the new folder; its parent is made when missing.
        card: what the encoder cannot tell: `name`, `description`, `training`, `license`, `citation`, and optionally
            `results`, `limitations` and `input`, with `interpolation`, `antialias` and `crop` for image files.
        warmup: whether to write requests that TensorFlow Serving replays before the model goes live.
        overwrite: whether to replace an existing model folder.

    Returns:
        The written card.

    Raises:
        ValueError: for an existing folder, an encoder without a record, or an incomplete card.
    """
    backend = keras.backend.backend()
    checks.require(
        backend == "tensorflow", "export", "the environment variable KERAS_BACKEND=tensorflow", backend=backend
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
