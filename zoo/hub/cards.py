"""Model cards: the record of a published model, the digests of its files, and the search for models by name.

A published model is one folder: `card.json` beside the weights and the SavedModel. The card holds the SHA-256 of every
file, which is checked before the folder is opened. This module imports the standard library only, so that listing
models imports no framework.
"""

import fnmatch
import hashlib
import json
import os
import pathlib
import re
import warnings
from collections.abc import Callable, Collection
from typing import Any

from zoo import checks, files
from zoo.hub import schema

CARD = "card.json"
WEIGHTS = "encoder.weights.h5"
nearest = checks.suggestion  # used by zoo.serving
# Files that Keras or TensorFlow open by name, as prefixes. Such a file must be listed in the card.
_OPENED = (WEIGHTS, "saved_model.", "fingerprint.pb", "variables/", "assets/", "assets.extra/")
# An absolute path where one can begin; not the address of a web page, which has a second slash.
_ABSOLUTE = re.compile(r"""(^|[\s'"`=:,(\[])(?:~\w*)?/(?!/)(?:[^\s'"`,/]+/)*([^\s'"`,/)\]]+)/?(?=$|[\s'"`,)\]])""")
_REMEDY = "Fetch the model folder again, or export it again"
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent

FILTERS: dict[str, Callable[[dict], Any]] = {
    "method": lambda card: card["training"].get("method"),
    "data": lambda card: card["training"].get("data"),
    "split": lambda card: card["training"].get("split"),
    "epochs": lambda card: card["training"].get("epochs"),
    "steps": lambda card: card["training"].get("steps"),
    "batch_size": lambda card: card["training"].get("batch_size"),
    "seed": lambda card: card["training"].get("seed"),
    "encoder": lambda card: card["architecture"]["factory"].rpartition(":")[2],
    "embedding": lambda card: card["embedding"],
    "input_shape": lambda card: tuple(card["input"]["shape"]),
    "color_space": lambda card: card["input"]["color_space"],
}


def shipped(folder: str) -> pathlib.Path:
    """Returns the path of a folder that comes with the library: in the package in a wheel, beside it in a checkout.

    Args:
        folder: `"saved_models"` or `"gin"`.

    Returns:
        The path, which need not exist.
    """
    inside = _PACKAGE / folder
    return inside if inside.is_dir() else _PACKAGE.parent / folder


def roots() -> list[pathlib.Path]:
    """Returns the folders that are searched for models: the shipped one, then those in the variable `ZOO_MODELS`."""
    named = [pathlib.Path(part) for part in os.environ.get("ZOO_MODELS", "").split(os.pathsep) if part]
    return [shipped("saved_models"), *named]


def _places():
    places = {}
    for root in roots():
        if not root.is_dir():
            continue
        for folder in sorted(root.iterdir()):
            # An interrupted export may leave a hidden folder, which is not a model. `os.path` answers no where access
            # is denied.
            if not folder.name.startswith(".") and os.path.isfile(folder / CARD):
                places.setdefault(folder.name, []).append(folder)
    return places


def find(name_or_path: str | os.PathLike) -> pathlib.Path:
    """Returns the folder of a model.

    Args:
        name_or_path: the name of a model in one of `roots()`, or the path of a model folder.

    Raises:
        ValueError: there is no such model, or there are several folders of that name.
    """
    path = pathlib.Path(name_or_path)
    # A bare word is a name first, so that the contents of the current folder do not change which model it means.
    bare = path.name == os.fspath(name_or_path)
    places = _places()
    found = places.get(path.name, []) if bare else []
    if len(found) > 1:
        listed = ", ".join(map(str, found))
        raise ValueError(f"zoo: expected one folder named {path.name!r}; load one by its path. Received: {listed}.")
    if found:
        return found[0]
    if (path / CARD).is_file():
        return path
    if path.is_dir():
        raise ValueError(f"zoo: expected a folder with a {CARD}. Received: name_or_path={str(name_or_path)!r}.")
    known = ", ".join(sorted(places)) or "none"
    raise ValueError(
        f"zoo: expected the path of a model folder or one of the names: {known}. "
        f"Received: name_or_path={str(name_or_path)!r}.{checks.suggestion(name_or_path, places)}"
    )


def check(card: Any) -> dict:
    """Checks that a card has all required fields, of the right type, and no unknown ones.

    Args:
        card: the content of a `card.json`.

    Returns:
        The same card.

    Raises:
        ValueError: a field is wrong; the message names it, with what was expected and what was received.
    """
    return schema.check(card)


def read(folder: str | os.PathLike) -> dict:
    """Returns the checked card of a model folder.

    Raises:
        ValueError: the card is missing, malformed or of another version.
    """
    path = pathlib.Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"cards: expected a file {CARD} in the model folder. Received: folder={str(folder)!r}."
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no JSON, or an integer too long
        raise ValueError(f"cards: expected {path} to be JSON in UTF-8. Received: {error}.") from error
    try:
        return check(card)
    except ValueError as error:
        raise ValueError(f"{error} (in {path})") from None


def without_folders(value: Any) -> Any:
    """Returns text, or all text in lists and dicts, without the folders of this machine.

    An absolute path keeps its last part: `folder:/home/me/photos` becomes `folder:/path/to/photos`.
    """
    if isinstance(value, dict):
        return {key: without_folders(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(part) for part in value]
    return _ABSOLUTE.sub(r"\1/path/to/\2", value) if isinstance(value, str) else value


def write(card: dict, folder: str | os.PathLike) -> None:
    """Checks a card and writes it into a model folder, in one step: readers see the old card or the new one.

    It is written without the folders of this machine, see `without_folders`.
    """
    card = without_folders(card)
    check(card)
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    files.write(pathlib.Path(folder) / CARD, text)


def digest(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the SHA-256 and the size of a file, as a card records them: `{"sha256": hex, "bytes": int}`."""
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": sha256, "bytes": os.path.getsize(path)}


def contents(folder: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Returns the digest of every file below `folder` except the card: the `files` of a card."""
    folder = pathlib.Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    return {name: digest(folder / name) for name in names if name != CARD}


def verify(folder: str | os.PathLike, card: dict, kept: Collection[str] = ()) -> dict[str, bytes]:
    """Checks every file of a model folder against the card.

    Args:
        folder: the model folder.
        card: the checked card of the folder.
        kept: names of files, as in the card's `files`, whose bytes are returned as they were hashed.

    Returns:
        Name -> bytes of the files that are kept.

    Raises:
        ValueError: a file is missing, truncated or altered, or would be opened but is not listed in the card.
    """
    folder, found = pathlib.Path(folder), {}
    for name in kept:
        checks.require(name in card["files"], "cards", f"a model folder with {name}", folder=str(folder))
    for name in card["files"]:
        path = folder / name
        if not path.is_file():
            raise ValueError(f"cards: expected the file {name} in {folder}. Received: no such file. {_REMEDY}.")
        if name in kept:
            found[name] = data = path.read_bytes()
            received = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        else:
            received = digest(path)
        _compare(folder, name, card["files"][name], received)
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in card["files"] and name.startswith(_OPENED):
            raise ValueError(
                f"cards: expected only files that are listed in {CARD}. Received: {name} in {folder}. {_REMEDY}."
            )
    return found


def _compare(folder: str | os.PathLike, name: str, expected: dict, received: dict) -> None:
    if received != expected:
        raise ValueError(
            f"cards: expected {name} with sha256={expected['sha256']} ({expected['bytes']} bytes). Received: "
            f"sha256={received['sha256']} ({received['bytes']} bytes) in {folder}. {_REMEDY}."
        )


def opened(folder: str | os.PathLike) -> dict:
    """Returns the card of a model folder after every file was checked against it. All readers call this first."""
    card = read(folder)
    verify(folder, card)
    return card


def info(name: str | os.PathLike) -> dict:
    """Returns the card of a model: its input, training, results and license.

    Args:
        name: the name of a model, see `list_models`, or the path of a model folder.

    Returns:
        The content of `card.json`.

    Raises:
        ValueError: there is no such model, or the card is malformed.
    """
    return read(find(name))


def _agrees(received, wanted):
    if isinstance(received, str) and isinstance(wanted, str):
        return fnmatch.fnmatchcase(received.casefold(), wanted.casefold())
    if isinstance(received, tuple):
        return received == tuple(wanted)
    return received == wanted


def list_models(pattern: str = "*", **filters: Any) -> list[str]:
    """Returns the names of the published models, sorted.

    Args:
        pattern: shell pattern that the name must match, such as `"simclr_*"`.
        **filters: values of card fields, such as `method="simclr"`, `data="fashion_mnist"` or `embedding=256`. Strings
            may be shell patterns; their case is ignored.

    Returns:
        Names that `load` and `info` accept.

    Raises:
        ValueError: an unknown filter.
    """
    for name in filters:
        if name not in FILTERS:
            raise ValueError(
                f"zoo.list_models: expected filters among {', '.join(FILTERS)}. "
                f"Received: {name}={filters[name]!r}.{checks.suggestion(name, FILTERS)}"
            )
    names = [name for name in sorted(_places()) if fnmatch.fnmatchcase(name, pattern)]
    if not filters:
        return names
    places, found = _places(), {}
    for name in names:
        try:
            found[name] = read(places[name][0])
        except (OSError, ValueError) as error:  # one bad folder does not hide the others
            warnings.warn(f"zoo.list_models: {error}", stacklevel=2)
    return [
        name
        for name, card in found.items()
        if all(_agrees(FILTERS[field](card), wanted) for field, wanted in filters.items())
    ]
