"""Several encoders of the same images as one encoder with concatenated features, as CMC uses its encoders."""

from collections.abc import Sequence
from typing import Any

import keras

from zoo import checks
from zoo.models import architecture
from zoo.models import encoder as encoding


def join(encoders: Sequence[keras.Model], name: str = "joined") -> keras.Model:
    """Returns one model of several encoders, which shares their weights.

    Args:
        encoders: two or more networks `[B, H, W, C] -> [B, F_i]` from factories of `zoo.models`, with the same input
            shape and pooling.
        name: name of the model.

    Returns:
        Functional model `[B, H, W, C] -> [B, sum of F_i]`. Its attribute `pyramid_outputs` holds the levels that all
        encoders have, their channels concatenated; `smallest_size` is the largest of the encoders'; `architecture`
        builds the model again.

    Raises:
        ValueError: there are fewer than two encoders, or they differ in input shape or pooling.
    """
    shapes = {encoder.input_shape for encoder in encoders}
    valid = len(encoders) > 1 and len(shapes) == 1
    checks.require(valid, "join", "two or more encoders of one input shape", encoders=len(encoders), shapes=shapes)
    poolings = {encoder.architecture["arguments"].get("pooling") for encoder in encoders}
    checks.require(len(poolings) == 1, "join", "encoders of one pooling", pooling=poolings)
    images = keras.Input(encoders[0].input_shape[1:], name="images")  # [B, H, W, C]
    features: list[Any] = []
    maps: list[dict[str, Any]] = []
    for index, encoder in enumerate(encoders):
        levels = list(encoder.pyramid_outputs)
        # A model for each encoder, since layers of two encoders may have the same name.
        inner = keras.Model(encoder.input, [encoder.output, *encoder.pyramid_outputs.values()], name=f"tower{index}")
        pooled, *found = inner(images)
        features.append(pooled)
        maps.append(dict(zip(levels, found, strict=True)))
    model = keras.Model(images, keras.layers.Concatenate(name="features")(features), name=name)
    common = [level for level in maps[0] if all(level in found for found in maps)]
    pyramid = {level: keras.layers.Concatenate(name=level)([found[level] for found in maps]) for level in common}
    encoding.describe(model, pyramid, max(encoder.smallest_size for encoder in encoders))
    records = [encoder.architecture for encoder in encoders]
    arguments = {"encoders": records, "image_shape": None, "pooling": poolings.pop(), "name": name}
    architecture.write_record(model, towers, arguments)
    return model


@architecture.recorded
def towers(
    encoders: Sequence[dict[str, Any]],
    image_shape: Sequence[int | None] | None = None,
    pooling: str | None = "avg",
    name: str = "joined",
) -> keras.Model:
    """Returns what `join` returns, built from the records of the encoders.

    Args:
        encoders: the `architecture` of each encoder.
        image_shape: (H, W, C), or None for that of the records.
        pooling: 'avg', 'max' or None, for all encoders.
        name: name of the model.

    Returns:
        Functional model with fresh weights.
    """
    changes: dict[str, Any] = {"pooling": pooling}
    if image_shape is not None:
        changes["image_shape"] = image_shape
    return join([architecture.build(record, **changes) for record in encoders], name)
