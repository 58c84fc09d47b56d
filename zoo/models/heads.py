"""Heads: from an encoder's features to the embeddings that are compared.

SimCLR's (Chen et al., 2020, https://arxiv.org/abs/2002.05709 and https://arxiv.org/abs/2006.10029) is the default,
MoCo's (https://arxiv.org/abs/2003.04297) and BYOL's (https://arxiv.org/abs/2006.07733) are a matter of arguments.
"""

import keras
from keras import layers

from zoo.models import architecture, checks, initial, norm


@architecture.recorded
def projector(
    features,
    widths=(2048, 128),
    batch_norm=True,
    final_norm=None,
    use_bias=False,
    kernel_initializer=None,
    name="projector",
):
    """Dense layers with batch norm and ReLU between them; the last one is followed by batch norm without beta.

    | paper                | arguments                                                    |
    |----------------------|--------------------------------------------------------------|
    | SimCLR v1, ResNet-50 | widths=(2048, 128)                                           |
    | SimCLR v2, ResNet-50 | widths=(2048, 2048, 128)                                     |
    | MoCo v2              | widths=(2048, 128), batch_norm=False, use_bias=True          |
    | BYOL                 | widths=(4096, 256), final_norm=False                         |

    Args:
        features: F, the width of the encoder's output.
        widths: units of each layer; the last is D.
        batch_norm: whether batch norm follows the hidden layers.
        final_norm: whether batch norm without beta follows the last layer; None means as `batch_norm`.
        use_bias: whether dense layers have biases.
        kernel_initializer: name or configuration of a Keras initializer. None means SimCLR's N(0, 0.01^2) for layers
            that batch norm follows, where only the direction of a weight matters, and variance 1 / fan-in for others.
        name: of the model.

    Returns:
        Functional model, features `[B, F]` -> embeddings `[B, D]`. The output of its n-th hidden layer is that of the
        layer `hidden<n>_relu`; see `truncated`.
    """
    checks.sizes("projector", "features", (features,))
    checks.sizes("projector", "widths", widths)
    final_norm = batch_norm if final_norm is None else final_norm
    inputs = keras.Input((features,), name="features")  # [B, F]
    x = inputs
    for index, width in enumerate(widths[:-1], start=1):
        x = _dense(x, width, use_bias, kernel_initializer, batch_norm, f"hidden{index}")  # [B, width]
        if batch_norm:
            x = norm.BatchNorm(name=f"hidden{index}_bn")(x)
        x = layers.ReLU(name=f"hidden{index}_relu")(x)
    x = _dense(x, widths[-1], use_bias, kernel_initializer, final_norm, "embedding")  # [B, D]
    if final_norm:
        x = norm.BatchNorm(center=False, name="embedding_bn")(x)
    return keras.Model(inputs, x, name=name)


@architecture.recorded
def jigsaw(features, width, patches=9, widths=(128,), use_bias=True, name="jigsaw"):
    """PIRL's head of a cut-up image (https://arxiv.org/abs/1912.01991, Section 3.2), patches in their given order.

    Args:
        features: F, the width of the encoder's output.
        width: D.
        patches: P.
        widths: of the layers that every patch passes, with ReLU between: one in PIRL, (2048, 128) in InfoMin.
        use_bias: whether dense layers have biases.
        name: of the model.

    Returns:
        Functional model, features of patches `[B, P, F]` -> embeddings of the image `[B, D]`.
    """
    checks.sizes("jigsaw", "sizes", (features, width, patches))
    checks.sizes("jigsaw", "widths", widths)
    inputs = keras.Input((patches, features), name="features")  # [B, P, F]
    x = inputs
    for index, units in enumerate(widths, start=1):
        x = _dense(x, units, use_bias, None, False, f"patch{index}")  # [B, P, units]
        if index < len(widths):
            x = layers.ReLU(name=f"patch{index}_relu")(x)
    x = layers.Reshape((patches * widths[-1],), name="concatenated")(x)
    return keras.Model(inputs, _dense(x, width, use_bias, None, False, "embedding"), name=name)


def truncated(head, layers=1, name=None):
    """The first hidden layers of a projector, with its weights: what SimCLR v2 fine-tunes behind the encoder.

    Args:
        head: a model of `projector`.
        layers: how many hidden layers to keep, each up to and with its ReLU.
        name: of the model.

    Returns:
        Functional model, features `[B, F]` -> `[B, width of the last kept layer]`.
    """
    count = sum(layer.name.startswith("hidden") and layer.name.endswith("_relu") for layer in head.layers)
    if isinstance(layers, bool) or not isinstance(layers, int) or not 1 <= layers <= count:
        expected = f"heads.truncated: expected between 1 and the head's {count} hidden layers."
        raise ValueError(f"{expected} Received: layers={layers!r}.")
    output = head.get_layer(f"hidden{layers}_relu").output  # [B, width]
    return keras.Model(head.input, output, name=name or f"{head.name}_truncated")


def kept(encoder, head, layers=1, name=None):
    """An encoder and the first hidden layers of its projector, with the weights of both: SimCLR v2's features.

    Args:
        encoder: network `[B, H, W, C] -> [B, F]`, as its factory returns it.
        head: a model of `projector`.
        layers: how many hidden layers to keep.
        name: of the model.

    Returns:
        Functional model, images `[B, H, W, C]` -> `[B, width of the last kept layer]`, with the encoder's
        `pyramid_outputs`, and an `architecture` that builds it again.
    """
    output = truncated(head, layers)(encoder.output)  # [B, width]
    model = keras.Model(encoder.input, output, name=name or f"{encoder.name}_{head.name}")
    arguments = {"encoder": encoder.architecture, "head": head.architecture, "layers": layers, "image_shape": None}
    record = {"factory": headed.factory, "arguments": {**arguments, "name": model.name}}
    vars(model).update(architecture=record, pyramid_outputs=encoder.pyramid_outputs)
    return model


@architecture.recorded
def headed(encoder, head, layers=1, image_shape=None, name=None):
    """What `kept` returns, built anew from the records of its two parts.

    Args:
        encoder: the `architecture` of the encoder.
        head: the `architecture` of the projector.
        layers: how many of its hidden layers are kept.
        image_shape: (H, W, C) other than the record's, or None.
        name: of the model.

    Returns:
        Functional model with fresh weights.
    """
    changes = {} if image_shape is None else {"image_shape": image_shape}
    return kept(architecture.build(encoder, **changes), architecture.build(head), layers, name)


def _dense(x, width, use_bias, initializer, normalized, name):
    if initializer is None and normalized:
        initializer = initial.RandomNormal(stddev=0.01)
    elif initializer is None:
        initializer = initial.fan_in()
    # A fresh one for each layer, since an initializer given as an object repeats its draw.
    initializer = initial.get(initializer)
    return layers.Dense(width, use_bias=use_bias, kernel_initializer=initializer, name=name)(x)
