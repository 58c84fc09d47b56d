"""Split strings such as `train[:10%]` or `train+test[100:200]`, with the meaning they have in TFDS, for any data."""

import hashlib
import logging
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from zoo import checks

_logger = logging.getLogger(__name__)

_PART = re.compile(r"(?P<name>[\w-]+)(\[(?P<first>-?[\d_.]+%?)?(?P<colon>:)(?P<last>-?[\d_.]+%?)?\])?")


def rows(split: Any, counts: Mapping[str, int], who: str) -> np.ndarray:
    """Returns the positions that a split string selects within the concatenation of all splits.

    Splits are concatenated in the order `train`, then the others by name, so that a position identifies an example.

    Args:
        split: string, or a `tfds.core.ReadInstruction` as `tfds.even_splits` returns them.
        counts: split name -> number of examples.
        who: name of the data, for messages.

    Returns:
        np.int64 `[n]`, in the order of the string.

    Raises:
        ValueError: unknown split, malformed slice, or nothing selected.
    """
    starts = dict(zip(ordered(counts), offsets(counts), strict=True))
    try:
        parts = _slices(split, counts) if isinstance(split, str) else _instructed(split, counts)
    except (ValueError, AssertionError) as error:
        hint = checks.suggestion(str(split).partition("[")[0], [name for name in counts if name not in str(split)])
        raise ValueError(
            f"{who}: expected splits {', '.join(ordered(counts))} or slices of them. "
            f"Received: split={str(split)!r} ({error}).{hint}"
        ) from error
    ranges = [starts[name] + np.arange(first, last, dtype=np.int64) for name, first, last in parts]
    chosen = np.concatenate(ranges) if ranges else np.zeros(0, np.int64)
    if not len(chosen):
        raise ValueError(f"{who}: expected a split with at least one example. Received: split={str(split)!r}.")
    return chosen


def _instructed(split, counts):
    """The ranges that an instruction of TFDS selects, in the form of `_slices`."""
    infos = {name: types.SimpleNamespace(num_examples=n, shard_lengths=[n]) for name, n in counts.items()}
    parts = [(part.splitname, slice(part.from_, part.to)) for part in split.to_absolute(infos)]
    return [(name, *rows.indices(counts[name])[:2]) for name, rows in parts]


def _slices(split, counts):
    """The ranges that a split string selects: triples of the name of a split, the first row and the end."""
    if split == "all":
        return [(name, 0, count) for name, count in counts.items()]
    found = [_PART.fullmatch(part.strip()) for part in split.split("+")]
    if not all(found) or any(part["colon"] and not (part["first"] or part["last"]) for part in found):
        raise ValueError("the parts must have the form NAME or NAME[FROM:TO]")
    unknown = [part["name"] for part in found if part["name"] not in counts]
    if unknown:
        raise ValueError(f"there is no split {unknown[0]!r}")
    return [_slice(part, counts[part["name"]]) for part in found]


def _slice(part, count):
    bounds = part["first"], part["last"]
    percent = any(bound and bound.endswith("%") for bound in bounds)  # a percent sign at one bound holds for both
    first, last = (_row(bound, count, percent) for bound in bounds)
    first, last = first or 0, count if last is None else last
    if max(abs(first), abs(last)) > count:
        raise ValueError(f"there are {count} examples")
    return (part["name"], *slice(first, last).indices(count)[:2])


def _row(bound, count, percent):
    if bound is None:
        return None
    number = bound.rstrip("%")
    return round(float(number) * count / 100) if percent else int(number)


def within(rows: np.ndarray, counts: Mapping[str, int]) -> tuple[list[str], np.ndarray]:
    """Returns the splits that some positions lie in, and the positions within these splits alone.

    Args:
        rows: np.int64 `[n]`, positions as the function `rows` returns them.
        counts: split name -> number of examples.

    Returns:
        Names in the order of `ordered`, and np.int64 `[n]`: positions within the concatenation of these splits.
    """
    names: list[str] = []
    positions, before = np.empty(len(rows), np.int64), 0
    for name, start in zip(ordered(counts), offsets(counts), strict=True):
        inside = (rows >= start) & (rows < start + counts[name])
        if inside.any():
            names.append(name)
            positions[inside] = rows[inside] - start + before
            before += counts[name]
    return names, positions


def report_lacking(
    rows: np.ndarray, counts: Mapping[str, int], labels: np.ndarray, classes: Sequence[str] | None, who: str
) -> None:
    """Logs a warning if a slice lacks classes that its splits have.

    Args:
        rows: np.int64 `[k]`, positions as the function `rows` returns them.
        counts: split name -> number of examples, n in total.
        labels: np.int64 `[n]` of the concatenation of all splits, -1 where unknown.
        classes: names of the classes, or None.
        who: name of the data and of the slice, for the message.
    """
    starts = dict(zip(ordered(counts), offsets(counts), strict=True))
    names, _ = within(rows, counts)
    whole = np.unique(np.concatenate([labels[starts[name] : starts[name] + counts[name]] for name in names]))
    whole = whole[whole >= 0]
    names_of = [str(number) for number in range(int(whole.max(initial=-1)) + 1)] if classes is None else classes
    have = f"{' and '.join(names)} {'have' if len(names) > 1 else 'has'}"
    _report(labels[rows], whole, names_of, who, have)


def report_unused(labels: np.ndarray, classes: Sequence[str], who: str, whole: str) -> None:
    """Logs a warning if a slice lacks some of the classes that its data name.

    Args:
        labels: np.int64 `[k]` of the examples of the slice, -1 where unknown.
        classes: names of all classes.
        who: name of the data and of the slice, for the message.
        whole: name of the data, for the message.
    """
    _report(labels, np.arange(len(classes)), classes, who, f"{whole} names")


def _report(labels, whole, classes, who, have):
    lacking = np.setdiff1d(whole, labels)
    if len(lacking):
        named = listed(classes[number] for number in lacking)
        _logger.warning("%s lacks %d of the %d classes that %s: %s.", who, len(lacking), len(whole), have, named)


def picked(name: str, one_in: int) -> bool:
    """Returns whether an example with this name is picked; its SHA-256 picks about one name in `one_in`."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") % one_in == 0


def listed(names: Iterable[str], most: int = 5) -> str:
    """Returns the first of some names, separated by commas and safe to print, and how many follow them."""
    names = list(names)
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(printable(name) for name in names[:most]) + rest


def printable(name: str) -> str:
    """Returns a name with escapes for what a terminal cannot show: line breaks, bytes that are no UTF-8."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def ordered(counts: Iterable[str]) -> list[str]:
    """Returns split names in their order: `train`, then the others by name."""
    return sorted(counts, key=lambda name: (name != "train", name))


def offsets(counts: Mapping[str, int]) -> list[int]:
    """Returns the position of the first example of each split, in the order of `ordered`."""
    numbers = [counts[name] for name in ordered(counts)]
    return [int(start) for start in np.cumsum([0, *numbers[:-1]])]
