"""The schema of a card: every field and its type. Cards may come from anywhere and are not trusted."""

import re
from typing import Any

from zoo import checks

VERSION = 1
INTERPOLATIONS = ("bilinear", "bicubic", "nearest", "area", "lanczos3")
NAME = re.compile(r"[a-z0-9][a-z0-9_.\-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FACTORY = re.compile(r"zoo\.models\.[a-z_][a-z0-9_]*:[a-z_][a-z0-9_]*")


def _is_string(value):
    return isinstance(value, str) and bool(value.strip())


def _is_shape(value):
    return isinstance(value, list) and len(value) == 3 and all(map(checks.is_integer, value))


def _is_statistic(value):
    return checks.is_number(value) or (isinstance(value, list) and bool(value) and all(map(checks.is_number, value)))


def _is_deviation(value):
    return _is_statistic(value) and all(number > 0 for number in (value if isinstance(value, list) else [value]))


def _is_interval(value):
    if value is None:
        return True
    return isinstance(value, list) and len(value) == 2 and all(map(checks.is_number, value)) and value[0] <= value[1]


def _is_labels(value):
    return value is None or _is_string(value) or checks.is_integer(value)


def _is_path(value):
    """Returns whether a value is a relative path, with forward slashes, that stays in the folder; not the card."""
    if not isinstance(value, str) or re.search(r"[\\:\x00-\x1f]", value):
        return False
    return all(part not in ("", ".", "..") for part in value.split("/")) and value != "card.json"


def _one_of(*values):
    return lambda value: isinstance(value, str) and value in values


def _full_match(pattern):
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


_MAPPING = (lambda value: isinstance(value, dict), "an object")
_STRING = (_is_string, "a string")
_COUNT = (checks.is_integer, "an integer of at least 1")

# Field -> (test, what is expected). A field with a trailing question mark may be absent.
_CARD = {
    "card_version": (lambda value: value == VERSION, f"the version {VERSION}; a newer card needs a newer zoo"),
    "name": (_full_match(NAME), "a name of lower-case letters, digits and _ . -"),
    "description": _STRING,
    "limitations?": _STRING,
    "architecture": _MAPPING,
    "input": _MAPPING,
    "embedding": _COUNT,
    "features": _MAPPING,
    "training": _MAPPING,
    "results": (lambda value: isinstance(value, list), "a list"),
    "files": (lambda value: isinstance(value, dict) and "encoder.weights.h5" in value, "an entry encoder.weights.h5"),
    "license": _MAPPING,
    "citation": (lambda value: isinstance(value, str), "a string"),
}
_ARCHITECTURE = {
    "factory": (_full_match(_FACTORY), "a factory inside zoo.models, as in zoo.models.resnet:resnet18"),
    "arguments": _MAPPING,
}
_INPUT = {
    "shape": (_is_shape, "[height, width, channels]"),
    "range": (lambda value: value == [0, 1], "[0, 1]"),
    "mean": (_is_statistic, "a number, or one per channel"),
    "std": (_is_deviation, "a positive number, or one per channel"),
    "color_space": (_one_of("rgb", "gray"), "rgb or gray"),
    "interpolation": (_one_of(*INTERPOLATIONS), f"one of {', '.join(INTERPOLATIONS)}"),
    "antialias": (lambda value: isinstance(value, bool), "true or false"),
    "crop": (_one_of("center", "none"), "center or none"),
}
_RESULT = {
    "data": _STRING,
    "protocol": _STRING,
    "metric?": _STRING,
    "labels": (_is_labels, "a string, a count or null"),
    "value": (checks.is_number, "a finite number"),
    "interval": (_is_interval, "[low, high] or null"),
    "n_seeds": _COUNT,
    "model": (_one_of("pixels", "untrained", "trained"), "pixels, untrained or trained"),
    "source": (_one_of("ours", "paper", "converted"), "ours, paper or converted"),
    "command": (lambda value: value is None or _is_string(value), "a string or null"),
}
_FILE = {
    "sha256": (_full_match(_SHA256), "64 lower-case hexadecimal digits"),
    "bytes": (lambda value: checks.is_integer(value, least=0), "a size in bytes"),
}
_LICENSE = {"code": _STRING, "weights": _STRING, "data": _STRING}


def _shorten(value):
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _check_fields(where, record, fields):
    if not isinstance(record, dict):
        raise ValueError(f"card: expected {where or 'the card'} to be an object. Received: {_shorten(record)}.")
    prefix = f"{where}." if where else ""
    known = {field.rstrip("?"): field.endswith("?") for field in fields}
    # The version is the first field: a card of an unknown version cannot be checked further.
    for field, (test, expected) in fields.items():
        name = field.rstrip("?")
        if name not in record:
            if known[name]:
                continue
            raise ValueError(f"card: expected {prefix}{name}: {expected}. Received: no such field.")
        if not test(record[name]):
            raise ValueError(f"card: expected {expected}. Received: {prefix}{name}={_shorten(record[name])}.")
    for name in record:
        if name not in known:
            hint = checks.suggestion(name, known)
            raise ValueError(f"card: expected only known fields. Received: {prefix}{name}.{hint}")


def check(card: Any) -> dict:
    """Checks a card; see `zoo.hub.cards.check`."""
    _check_fields("", card, _CARD)
    _check_fields("architecture", card["architecture"], _ARCHITECTURE)
    _check_fields("input", card["input"], _INPUT)
    _check_fields("license", card["license"], _LICENSE)
    channels = card["input"]["shape"][-1]
    wanted = {"rgb": 3, "gray": 1}[card["input"]["color_space"]]
    if channels != wanted:
        raise ValueError(f"card: expected {wanted} channels for {card['input']['color_space']}. Received: {channels}.")
    for name in ("mean", "std"):
        value = card["input"][name]
        if isinstance(value, list) and len(value) not in (1, channels):
            raise ValueError(f"card: expected one value per channel. Received: input.{name}={_shorten(value)}.")
    for level, shape in card["features"].items():
        if not re.fullmatch(r"P\d+", level) or not _is_shape(shape):
            raise ValueError(
                f"card: expected features as P2: [height, width, channels]. Received: {level}={_shorten(shape)}."
            )
    for index, result in enumerate(card["results"]):
        _check_fields(f"results[{index}]", result, _RESULT)
    for path, record in card["files"].items():
        if not _is_path(path):
            raise ValueError(f"card: expected relative paths that stay inside the folder. Received: files={path!r}.")
        _check_fields(f"files[{path}]", record, _FILE)
    return card
