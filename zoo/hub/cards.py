"""Cards: the one record of a published model, the files it vouches for, and the names under which models are found.

A published model is one folder: `card.json` beside the weights and the SavedModel. The card holds the SHA-256 of every
file, and whoever opens the folder checks them first. Standard library only: listing models imports no framework.
"""

import difflib
import fnmatch
import hashlib
import json
import os
import pathlib

from zoo import files
from zoo.hub import schema

CARD = "card.json"
WEIGHTS = "encoder.weights.h5"
# What the readers of a model folder open by name; a file of theirs that the card does not vouch for is refused.
_OPENED = (WEIGHTS, "saved_model.", "fingerprint.pb", "variables/", "assets/", "assets.extra/")
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent

FILTERS = {
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


def shipped(folder):
    """The path of a folder that comes with the library: inside the package in a wheel, beside it in a checkout.

    Args:
        folder: `"saved_models"` or `"gin"`.

    Returns:
        `pathlib.Path`; it need not exist.
    """
    inside = _PACKAGE / folder
    return inside if inside.is_dir() else _PACKAGE.parent / folder


def roots():
    """The folders in which models are looked up: the shipped one, then those of the environment's `ZOO_MODELS`."""
    named = [pathlib.Path(part) for part in os.environ.get("ZOO_MODELS", "").split(os.pathsep) if part]
    return [shipped("saved_models"), *named]


def _places():
    places = {}
    for root in roots():
        if not root.is_dir():
            continue
        for folder in sorted(root.iterdir()):
            # An interrupted export may leave a hidden folder; it is no model.
            if not folder.name.startswith(".") and (folder / CARD).is_file():
                places.setdefault(folder.name, []).append(folder)
    return places


def nearest(word, words):
    """`" Did you mean 'x'?"` for the nearest of `words`, or nothing."""
    close = difflib.get_close_matches(str(word), [str(each) for each in words], n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def find(name_or_path):
    """The folder of a model.

    Args:
        name_or_path: the name of a model in one of `roots()`, or the path of a model folder.

    Returns:
        `pathlib.Path`.

    Raises:
        ValueError: no such model, or several folders of that name.
    """
    path = pathlib.Path(name_or_path)
    # A bare word is a name first: what lies in the current folder must not change which model it means.
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
        f"Received: name_or_path={str(name_or_path)!r}.{nearest(name_or_path, places)}"
    )


def check(card):
    """Checks that a card has every field it must have, of the right kind, and none besides.

    Args:
        card: the content of a `card.json`.

    Returns:
        The same card.

    Raises:
        ValueError: names the field, what was expected and what was received.
    """
    return schema.check(card)


def read(folder):
    """The checked card of a model folder; raises `ValueError` if it is missing, malformed or of another version."""
    path = pathlib.Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"cards: expected a file {CARD} in the model folder. Received: folder={str(folder)!r}."
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"cards: expected {path} to be JSON in UTF-8. Received: {error}.") from error
    try:
        return check(card)
    except ValueError as error:
        raise ValueError(f"{error} (in {path})") from None


def write(card, folder):
    """Checks a card and writes it into a model folder, in one step: readers see the old card or the new one."""
    check(card)
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    files.write(pathlib.Path(folder) / CARD, text)


def digest(path):
    """The SHA-256 and the size of a file, as a card records them: `{"sha256": hex, "bytes": int}`."""
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": sha256, "bytes": os.path.getsize(path)}


def contents(folder):
    """The digests of every file below `folder` except its card, as a card's `files`."""
    folder = pathlib.Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    return {name: digest(folder / name) for name in names if name != CARD}


def verify(folder, card):
    """Checks every file of a model folder against its card.

    Args:
        folder: the model folder.
        card: its checked card.

    Raises:
        ValueError: a file is missing, truncated, altered, or would be opened without standing in the card.
    """
    folder = pathlib.Path(folder)
    remedy = "Remedy: fetch the model folder again, or export it again"
    for name, expected in card["files"].items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"cards: expected the file {name} in {folder}. Received: no such file. {remedy}.")
        received = digest(path)
        if received != expected:
            raise ValueError(
                f"cards: expected {name} with sha256={expected['sha256']} ({expected['bytes']} bytes). Received: "
                f"sha256={received['sha256']} ({received['bytes']} bytes) in {folder}. {remedy}."
            )
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in card["files"] and name.startswith(_OPENED):
            raise ValueError(
                f"cards: expected only files that stand in {CARD}. Received: {name} in {folder}. {remedy}."
            )


def opened(folder):
    """The card of a model folder after every file has been checked against it: what each reader calls first."""
    card = read(folder)
    verify(folder, card)
    return card


def info(name):
    """The card of a model: what it eats, how it was trained, what it reached, what it may be used for.

    Args:
        name: the name of a model, see `list_models`, or the path of a model folder.

    Returns:
        dict, the content of `card.json`.
    """
    return read(find(name))


def _agrees(received, wanted):
    if isinstance(received, str) and isinstance(wanted, str):
        return fnmatch.fnmatchcase(received.casefold(), wanted.casefold())
    if isinstance(received, tuple):
        return received == tuple(wanted)
    return received == wanted


def list_models(pattern="*", **filters):
    """The names of the published models, sorted.

    Args:
        pattern: shell pattern that the name must match, such as `"simclr_*"`.
        **filters: values of card fields, such as `method="simclr"`, `data="fashion_mnist"` or `embedding=256`; strings
            may be shell patterns and are compared without regard to case.

    Returns:
        list of names for `load` and `info`.

    Raises:
        ValueError: an unknown filter.
    """
    for name in filters:
        if name not in FILTERS:
            raise ValueError(
                f"zoo.list_models: expected filters among {', '.join(FILTERS)}. "
                f"Received: {name}={filters[name]!r}.{nearest(name, FILTERS)}"
            )
    names = [name for name in sorted(_places()) if fnmatch.fnmatchcase(name, pattern)]
    if not filters:
        return names
    found = {name: read(_places()[name][0]) for name in names}
    return [
        name
        for name, card in found.items()
        if all(_agrees(FILTERS[field](card), wanted) for field, wanted in filters.items())
    ]
