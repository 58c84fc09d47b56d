"""Views of images. The classes are available here by name, and are imported on first use."""

import importlib
from typing import Any

_HOMES = {
    "CenterCrop": "geometry",
    "Chain": "view",
    "Channels": "spaces",
    "Crop": "geometry",
    "Blur": "blur",
    "Flip": "geometry",
    "Fork": "view",
    "Grayscale": "color",
    "HighPass": "frequency",
    "Jigsaw": "jigsaw",
    "Jitter": "color",
    "LowPass": "frequency",
    "Modality": "modality",
    "OneOf": "view",
    "Pair": "patches",
    "RandAugment": "randaugment",
    "Solarize": "color",
    "Sometimes": "view",
    "Views": "view",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo.views' has no attribute {name!r}")
    return getattr(importlib.import_module(f"zoo.views.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
