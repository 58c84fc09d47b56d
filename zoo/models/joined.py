"""Several encoders of one image as one: their features side by side, as CMC is judged and used."""

import keras

from zoo.models import architecture


def join(encoders, name="joined"):
    """Encoders side by side, with the weights of each.

    Args:
        encoders: list of networks `[B, H, W, C] -> [B, F_i]` of one input shape and pooling, as their factories return
            them.
        name: of the model.

    Returns:
        Functional model `[B, H, W, C] -> [B, sum of F_i]`. Where encoders have maps of one name and size, so has it in
        `pyramid_outputs`, their channels side by side. Its `architecture` builds it again.
    """
    shapes = {encoder.input_shape for encoder in encoders}
    poolings = {encoder.architecture["arguments"].get("pooling") for encoder in encoders}
    if len(poolings) > 1:
        raise ValueError(f"join: expected encoders of one pooling. Received: pooling={poolings}.")
    if len(encoders) < 2 or len(shapes) > 1:
        raise ValueError(
            f"join: expected two or more encoders of one input shape. Received: {len(encoders)}: {shapes}."
        )
    images = keras.Input(encoders[0].input_shape[1:], name="images")  # [B, H, W, C]
    features, maps = [], []
    for index, encoder in enumerate(encoders):
        levels = list(encoder.pyramid_outputs)
        # A model of its own for each, since two towers may have layers of one name.
        inner = keras.Model(encoder.input, [encoder.output, *encoder.pyramid_outputs.values()], name=f"tower{index}")
        pooled, *found = inner(images)
        features.append(pooled)
        maps.append(dict(zip(levels, found, strict=True)))
    model = keras.Model(images, keras.layers.Concatenate(name="features")(features), name=name)
    common = [level for level in maps[0] if all(level in found for found in maps)]
    pyramid = {}
    for level in common:
        if len({found[level].shape[1:3] for found in maps}) == 1:
            pyramid[level] = keras.layers.Concatenate(name=level)([found[level] for found in maps])
    arguments = {
        "encoders": [encoder.architecture for encoder in encoders],
        "image_shape": None,
        "pooling": poolings.pop(),
    }
    record = {"factory": towers.factory, "arguments": {**arguments, "name": name}}
    vars(model).update(architecture=record, pyramid_outputs=pyramid)
    return model


@architecture.recorded
def towers(encoders, image_shape=None, pooling="avg", name="joined"):
    """What `join` returns, built anew from the records of its parts.

    Args:
        encoders: list of the `architecture` of each.
        image_shape: (H, W, C) other than the records', or None.
        pooling: "avg", "max" or None, of each.
        name: of the model.

    Returns:
        Functional model with fresh weights.
    """
    changes = {"pooling": pooling} if image_shape is None else {"pooling": pooling, "image_shape": image_shape}
    return join([architecture.build(record, **changes) for record in encoders], name)
