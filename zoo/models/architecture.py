"""Records of how models were built: plain data that a card can hold and from which a model is built again."""

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import keras
import numpy as np

from zoo import checks

_FACTORY = re.compile(r"(zoo\.models\.\w+):(\w+)")
_Parameters = ParamSpec("_Parameters")


def recorded(factory: Callable[_Parameters, keras.Model]) -> Callable[_Parameters, keras.Model]:
    """Decorates a model factory, so that its models know how they were built.

    Args:
        factory: function that returns a `keras.Model`. JSON must be able to hold its arguments.

    Returns:
        The factory. Its models have an attribute `architecture`, a dict with the name of the factory and all arguments,
        including defaults: `{"factory": "zoo.models.resnet:resnet18", "arguments": {...}}`. Raises ValueError if it is
        called with an unknown argument, or with one that JSON cannot hold.
    """
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def build_and_record(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> keras.Model:
        for unknown in kwargs.keys() - signature.parameters.keys():
            expected = f"{factory.__name__}: expected arguments out of {', '.join(signature.parameters)}."
            raise ValueError(f"{expected} Received: {unknown}.{checks.suggestion(unknown, signature.parameters)}")
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = {key: _as_data(factory.__name__, key, value) for key, value in bound.arguments.items()}
        model = factory(*args, **kwargs)
        # A factory that composes models, such as `heads.headed`, has recorded its parts as they were built.
        if "architecture" not in vars(model):
            write_record(model, factory, arguments)
        return model

    setattr(build_and_record, "factory", _name(factory))  # noqa: B010, a function has no such attribute for mypy
    return build_and_record


def write_record(model: keras.Model, factory: Callable, arguments: dict[str, Any]) -> None:
    """Records in a model's `architecture` which factory builds it, with which arguments.

    Args:
        model: the model.
        factory: function decorated by `recorded`.
        arguments: all arguments of the factory, as JSON holds them.
    """
    # Past Keras' own attribute setter, which would replace the dict by a wrapper that json cannot write.
    vars(model)["architecture"] = {"factory": _name(factory), "arguments": arguments}


def build(record: dict[str, Any], **overrides: Any) -> keras.Model:
    """Builds the model that a record describes, with fresh weights.

    A card is data and may come from anywhere, so a record can name only the recorded factories of `zoo.models`.

    Args:
        record: the `architecture` of a model.
        **overrides: arguments of the factory that replace the recorded ones.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: the record does not name such a factory, or the arguments do not fit it.
    """
    factory = record.get("factory")
    named = _FACTORY.fullmatch(factory) if isinstance(factory, str) else None
    expected = "architecture.build: expected a model factory of zoo.models, such as 'zoo.models.resnet:resnet18'."
    if named is None:
        raise ValueError(f"{expected} Received: factory={factory!r}.")
    try:
        module = importlib.import_module(named[1])
    except ModuleNotFoundError as error:
        raise ValueError(f"{expected} Received: factory={factory!r}.") from error
    found = getattr(module, named[2], None)
    # Factories that the module imports have another name; functions that are no factories have none.
    if found is None or getattr(found, "factory", None) != factory:
        factories = [
            key for key, value in vars(module).items() if getattr(value, "factory", None) == f"{named[1]}:{key}"
        ]
        raise ValueError(f"{expected} Received: factory={factory!r}.{checks.suggestion(named[2], factories)}")
    return found(**{**record.get("arguments", {}), **overrides})


def resized(encoder: keras.Model, image_shape: Sequence[int | None]) -> keras.Model:
    """Returns a copy of an encoder that takes images of another height and width.

    Encoders are trained with inputs of any size, `(None, None, C)`; an exported one states the size of its images.

    Args:
        encoder: network from a factory of `zoo.models`, `heads.kept` or `joined.join`.
        image_shape: (H, W, C), with the encoder's C.

    Returns:
        A model with the same weights (copies of them), whose input and `architecture` have the given shape.

    Raises:
        ValueError: the encoder does not take images of this shape.
    """
    channels = encoder.input_shape[-1]
    valid = len(image_shape) == 3 and image_shape[-1] == channels
    checks.require(valid, "architecture.resized", f"an `image_shape` (H, W, {channels})", image_shape=image_shape)
    copy = _built_alike(encoder, image_shape=tuple(image_shape))
    copy.set_weights(encoder.get_weights())
    copy.trainable = encoder.trainable
    return copy


def rechanneled(encoder: keras.Model, channels: int) -> keras.Model:
    """Returns a copy of an encoder that takes images of another number of channels.

    The rule is that of timm's `in_chans`: for one channel, the weights of all channels are added; for n, they are
    repeated in turn and scaled by C / n. So a gray image, repeated in one channel or in a multiple of C, gives the same
    features as in C.

    Args:
        encoder: network from a factory of `zoo.models` that begins with a convolution and takes images `[B, H, W, C]`
            as they are.
        channels: number of channels of the new images.

    Returns:
        A model with the other weights unchanged (copies of them).

    Raises:
        ValueError: the encoder converts its images to another color space, or does not begin with a convolution.
    """
    who, arguments = "architecture.rechanneled", encoder.architecture["arguments"]
    checks.integers(who, channels=channels)
    converts = arguments.get("space", "rgb") != "rgb" or arguments.get("channels") is not None
    is_plain = not converts and {"image_shape", "mean", "std"} <= arguments.keys()
    expected = "an encoder that takes the channels of its images as they are"
    checks.require(is_plain, who, expected, factory=encoder.architecture["factory"])
    before = encoder.input_shape[-1]
    overrides: dict[str, Any] = {"image_shape": (*encoder.input_shape[1:3], channels)}
    for name in ("mean", "std"):
        values = arguments[name]
        if isinstance(values, list) and len(values) > 1:
            mean = sum(values) / len(values)
            overrides[name] = mean if channels == 1 else [values[index % before] for index in range(channels)]
    copy = _built_alike(encoder, **overrides)
    for new, old in zip(copy.variables, encoder.variables, strict=True):
        weights = keras.ops.convert_to_numpy(old)
        if tuple(new.shape) != weights.shape:
            is_kernel = new.shape == (*weights.shape[:2], channels, *weights.shape[3:]) and weights.ndim == 4
            checks.require(is_kernel, who, "an encoder that begins with a convolution", variable=old.path)
            if channels == 1:
                weights = weights.sum(axis=2, keepdims=True)
            else:
                weights = weights[:, :, np.arange(channels) % before] * (before / channels)
        new.assign(weights)
    copy.trainable = encoder.trainable
    return copy


def _built_alike(encoder: keras.Model, **overrides: Any) -> keras.Model:
    """Returns the architecture of an encoder with fresh weights, in the encoder's precision."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(encoder.dtype_policy)
    try:
        return build(encoder.architecture, **overrides)
    finally:
        keras.config.set_dtype_policy(policy)


def _name(factory: Callable) -> str:
    return f"{factory.__module__}:{factory.__name__}"


def _as_data(who: str, name: str, value: Any) -> Any:
    """Returns `value` as JSON would give it back: tuples become lists."""
    if isinstance(value, tuple | list):
        return [_as_data(who, name, item) for item in value]
    if isinstance(value, dict):
        return {str(key): _as_data(who, name, item) for key, item in value.items()}
    valid = value is None or isinstance(value, bool | int | float | str)
    checks.require(valid, who, f"`{name}` to be a value that JSON can hold", **{name: value})
    return value
