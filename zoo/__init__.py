"""A zoo of contrastive encoders: list the published models, read their cards, load them as Keras models."""

import importlib

__version__ = "0.1.0"

# Names are looked up on first use (PEP 562), so that listing models imports neither TensorFlow nor Keras.
_HOMES = {"load": "zoo.hub.pretrained", "list_models": "zoo.hub.cards", "info": "zoo.hub.cards"}

__all__ = ["__version__", "info", "list_models", "load"]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__():
    return sorted({*globals(), *_HOMES})
