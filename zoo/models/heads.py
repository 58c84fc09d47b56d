"""Heads: small networks from the features of an encoder to the embeddings that are compared.

The default is SimCLR's (Chen et al., 2020, https://arxiv.org/abs/2002.05709 and https://arxiv.org/abs/2006.10029).
Other arguments give those of MoCo (https://arxiv.org/abs/2003.04297) and BYOL (https://arxiv.org/abs/2006.07733).
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers as keras_layers

from zoo import checks
from zoo.models import architecture, initial, norm
from zoo.models import encoder as encoding


@architecture.recorded
def projector(
    features: int,
    widths: Sequence[int] = (2048, 128),
    batch_norm: bool = True,
    final_norm: bool | None = None,
    use_bias: bool = False,
    final_scale: bool = True,
    kernel_initializer: str | dict[str, Any] | None = None,
    name: str = "projector",
) -> keras.Model:
    """Returns a head of dense layers, with batch norm and ReLU between them and batch norm without beta after the last.

    | paper                | arguments                                                    |
    |----------------------|--------------------------------------------------------------|
    | SimCLR v1, ResNet-50 | widths=(2048, 128)                                           |
    | SimCLR v2, ResNet-50 | widths=(2048, 2048, 128)                                     |
    | MoCo v2              | widths=(2048, 128), batch_norm=False, use_bias=True          |
    | BYOL                 | widths=(4096, 256), final_norm=False                         |
    | SwAV                 | widths=(2048, 128), final_norm=False, use_bias=True          |
    | SimSiam              | widths=(2048, 2048, 2048), final_scale=False                 |
    | MoCo v3, ResNet-50   | widths=(4096, 256), final_scale=False                        |

    Args:
        features: F, the width of the encoder's output.
        widths: units of each layer; the last is D.
        batch_norm: whether batch norm follows the hidden layers.
        final_norm: whether batch norm without beta follows the last layer; None for the same as `batch_norm`.
        use_bias: whether the dense layers have biases.
        final_scale: whether the batch norm after the last layer has a learned scale.
        kernel_initializer: name or configuration of a Keras initializer. None is SimCLR's N(0, 0.01^2) for layers that
            batch norm follows, where only the direction of the weights matters, and variance 1 / fan-in for the others.
        name: name of the model.

    Returns:
        Functional model, features `[B, F]` -> embeddings `[B, D]`. Its n-th hidden layer ends with the layer
        `hidden<n>_relu`, see `truncated`.
    """
    checks.integers("projector", features=features)
    checks.sizes("projector", "widths", widths)
    final_norm = batch_norm if final_norm is None else final_norm
    inputs = keras.Input((features,), name="features")  # [B, F]
    x = inputs
    for index, width in enumerate(widths[:-1], start=1):
        x = _dense(x, width, use_bias, kernel_initializer, batch_norm, f"hidden{index}")  # [B, width]
        if batch_norm:
            x = norm.BatchNorm(name=f"hidden{index}_bn")(x)
        x = keras_layers.ReLU(name=f"hidden{index}_relu")(x)
    x = _dense(x, widths[-1], use_bias, kernel_initializer, final_norm, "embedding")  # [B, D]
    if final_norm:
        x = norm.BatchNorm(center=False, scale=final_scale, name="embedding_bn")(x)
    return keras.Model(inputs, x, name=name)


@architecture.recorded
def predictor(
    features: int,
    width: int = 4096,
    final_norm: bool = False,
    use_bias: bool = False,
    name: str = "predictor",
) -> keras.Model:
    """Returns a head that predicts an embedding: a hidden layer with batch norm and ReLU, then a linear layer.

    | paper                | arguments                     |
    |----------------------|-------------------------------|
    | BYOL                 | width=4096                    |
    | SimSiam              | width=512, use_bias=True      |
    | MoCo v3, ResNet-50   | width=4096                    |

    Args:
        features: D, the width of the projector's output and of this head's.
        width: units of the hidden layer.
        final_norm: whether batch norm without scale and beta follows the last layer.
        use_bias: whether the last layer has a bias.
        name: name of the model, with which the names of its layers begin.

    Returns:
        Functional model, projections `[B, D]` -> predictions `[B, D]`.
    """
    checks.integers("predictor", features=features, width=width)
    inputs = keras.Input((features,), name="projections")  # [B, D]
    x = _dense(inputs, width, False, None, True, f"{name}_hidden")  # [B, width]
    x = norm.BatchNorm(name=f"{name}_hidden_bn")(x)
    x = keras_layers.ReLU(name=f"{name}_hidden_relu")(x)
    x = _dense(x, features, use_bias, None, final_norm, f"{name}_output")  # [B, D]
    if final_norm:
        x = norm.BatchNorm(center=False, scale=False, name=f"{name}_output_bn")(x)
    return keras.Model(inputs, x, name=name)


@architecture.recorded
def jigsaw(
    features: int,
    width: int,
    patches: int = 9,
    widths: Sequence[int] = (128,),
    use_bias: bool = True,
    name: str = "jigsaw",
) -> keras.Model:
    """Returns PIRL's head for an image cut into patches (https://arxiv.org/abs/1912.01991, Section 3.2).

    The patches pass the same dense layers, then one dense layer maps all of them, in the given order, to an embedding.

    Args:
        features: F, the width of the encoder's output.
        width: D.
        patches: P.
        widths: units of the layers that every patch passes, with ReLU between them: (128,) in PIRL, (2048, 128) in
            InfoMin.
        use_bias: whether the dense layers have biases.
        name: name of the model.

    Returns:
        Functional model, features of patches `[B, P, F]` -> embeddings of images `[B, D]`.
    """
    checks.integers("jigsaw", features=features, width=width, patches=patches)
    checks.sizes("jigsaw", "widths", widths)
    inputs = keras.Input((patches, features), name="features")  # [B, P, F]
    x = inputs
    for index, units in enumerate(widths, start=1):
        x = _dense(x, units, use_bias, None, False, f"patch{index}")  # [B, P, units]
        if index < len(widths):
            x = keras_layers.ReLU(name=f"patch{index}_relu")(x)
    x = keras_layers.Reshape((patches * widths[-1],), name="concatenated")(x)
    return keras.Model(inputs, _dense(x, width, use_bias, None, False, "embedding"), name=name)


def truncated(head: keras.Model, layers: int = 1, name: str | None = None) -> keras.Model:
    """Returns the first hidden layers of a projector, which SimCLR v2 keeps behind the encoder to fine-tune them.

    Args:
        head: model from `projector`; the weights are shared.
        layers: number of hidden layers to keep, each with its ReLU.
        name: name of the model.

    Returns:
        Functional model, features `[B, F]` -> `[B, width of the last kept layer]`.
    """
    count = sum(layer.name.startswith("hidden") and layer.name.endswith("_relu") for layer in head.layers)
    valid = checks.is_integer(layers) and layers <= count
    checks.require(valid, "heads.truncated", f"`layers` from 1 to the head's {count} hidden layers", layers=layers)
    output = head.get_layer(f"hidden{layers}_relu").output  # [B, width]
    return keras.Model(head.input, output, name=name or f"{head.name}_truncated")


def kept(encoder: keras.Model, head: keras.Model, layers: int = 1, name: str | None = None) -> keras.Model:
    """Returns an encoder followed by the first hidden layers of its projector, whose output SimCLR v2 uses as features.

    Args:
        encoder: network `[B, H, W, C] -> [B, F]` from a factory of `zoo.models`; the weights are shared.
        head: model from `projector`; the weights are shared.
        layers: number of hidden layers to keep.
        name: name of the model.

    Returns:
        Functional model, images `[B, H, W, C]` -> `[B, width of the last kept layer]`. It has the attributes of the
        encoder; its `architecture` builds it again.
    """
    output = truncated(head, layers)(encoder.output)  # [B, width]
    model = keras.Model(encoder.input, output, name=name or f"{encoder.name}_{head.name}")
    encoding.describe(model, encoder.pyramid_outputs, encoder.smallest_size)
    arguments = {"encoder": encoder.architecture, "head": head.architecture, "layers": layers, "image_shape": None}
    architecture.write_record(model, headed, {**arguments, "name": model.name})
    return model


@architecture.recorded
def headed(
    encoder: dict[str, Any],
    head: dict[str, Any],
    layers: int = 1,
    image_shape: Sequence[int | None] | None = None,
    name: str | None = None,
) -> keras.Model:
    """Returns what `kept` returns, built from the records of the encoder and the projector.

    Args:
        encoder: the `architecture` of the encoder.
        head: the `architecture` of the projector.
        layers: number of hidden layers to keep.
        image_shape: (H, W, C), or None for that of the record.
        name: name of the model.

    Returns:
        Functional model with fresh weights.
    """
    changes = {} if image_shape is None else {"image_shape": image_shape}
    return kept(architecture.build(encoder, **changes), architecture.build(head), layers, name)


def _dense(
    x: Any, width: int, use_bias: bool, initializer: str | dict[str, Any] | None, normalized: bool, name: str
) -> Any:
    """Returns the output of a new dense layer; `normalized` says whether batch norm follows."""
    # A new initializer for each layer, since an initializer object repeats its draw.
    kernel: Any = initial.get(initializer) if initializer is not None else None
    if kernel is None:
        kernel = initial.RandomNormal(stddev=0.01) if normalized else initial.fan_in()
    return keras_layers.Dense(width, use_bias=use_bias, kernel_initializer=kernel, name=name)(x)
