"""A record of how a model was built, kept as plain data so that a card can hold it and build the model again."""

import difflib
import functools
import importlib
import inspect
import re

_FACTORY = re.compile(r"(zoo\.models\.\w+):(\w+)")


def recorded(factory):
    """Decorates a model factory: what it returns carries `architecture`, the factory's name and all its arguments.

    Args:
        factory: function that returns a `keras.Model`; its arguments must be what JSON can hold.

    Returns:
        Function whose model has the attribute `architecture`, a dict
        `{"factory": "zoo.models.resnet:resnet18", "arguments": {...}}` with the defaults filled in. Raises ValueError
        where an argument is unknown or is not data.
    """
    signature = inspect.signature(factory)
    name = f"{factory.__module__}:{factory.__name__}"

    @functools.wraps(factory)
    def build_and_record(*args, **kwargs):
        for unknown in kwargs.keys() - signature.parameters.keys():
            expected = f"{factory.__name__}: expected an argument out of {', '.join(signature.parameters)}."
            raise ValueError(f"{expected} Received: {unknown}.{_suggestion(unknown, signature.parameters)}")
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = {key: _as_data(factory.__name__, key, value) for key, value in bound.arguments.items()}
        model = factory(*args, **kwargs)
        # Past Keras' own attribute setter, which would swap the dict for a wrapper that json cannot write.
        vars(model)["architecture"] = {"factory": name, "arguments": arguments}
        return model

    build_and_record.factory = name
    return build_and_record


def build(record, **overrides):
    """The model that a record describes, with fresh weights.

    A card is data and may come from anywhere, so only recorded factories inside `zoo.models` can be named.

    Args:
        record: dict as in a model's `architecture`.
        **overrides: arguments that replace the recorded ones.

    Returns:
        A `keras.Model`. Raises ValueError where the record names anything but such a factory.
    """
    factory = record.get("factory")
    named = _FACTORY.fullmatch(factory) if isinstance(factory, str) else None
    expected = "architecture.build: expected a model factory of zoo.models, as 'zoo.models.resnet:resnet18'."
    if named is None:
        raise ValueError(f"{expected} Received: factory={factory!r}.")
    try:
        module = importlib.import_module(named[1])
    except ModuleNotFoundError as error:
        raise ValueError(f"{expected} Received: factory={factory!r}.") from error
    found = getattr(module, named[2], None)
    # What a module imports from elsewhere carries another name, what is no factory carries none.
    if getattr(found, "factory", None) != factory:
        factories = [
            key for key, value in vars(module).items() if getattr(value, "factory", None) == f"{named[1]}:{key}"
        ]
        raise ValueError(f"{expected} Received: factory={factory!r}.{_suggestion(named[2], factories)}")
    return found(**{**record.get("arguments", {}), **overrides})


def sized(model, image_shape):
    """Returns a recorded model for images of one size, with the same weights.

    Methods make encoders for images of any size; whoever exports one states a size.

    Args:
        model: network `[B, H, W, C] -> [B, F]` of a factory of `zoo.models`.
        image_shape: (H, W, C).
    """
    network = build(model.architecture, image_shape=tuple(image_shape))
    network.set_weights(model.get_weights())
    return network


def _as_data(who, name, value):
    """`value` as JSON gives it back: tuples become lists."""
    if isinstance(value, tuple | list):
        return [_as_data(who, name, item) for item in value]
    if isinstance(value, dict):
        return {str(key): _as_data(who, name, item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{who}: expected an argument that JSON can hold. Received: {name}={value!r}.")


def _suggestion(word, words):
    close = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
