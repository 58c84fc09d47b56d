"""Split strings such as `train[:10%]` or `train+test[100:200]`, read as TFDS reads them, for any data."""

import difflib
import re
import types

import numpy as np

_PART = re.compile(r"(?P<name>[\w-]+)(\[(?P<first>-?[\d_.]+%?)?(?P<colon>:)(?P<last>-?[\d_.]+%?)?\])?")


def rows(split, counts, who):
    """The positions that a split string selects within the concatenation of all splits.

    Splits are concatenated `train` first, the others by name, so that a position identifies an example.

    Args:
        split: string, or the `tfds.core.ReadInstruction` that `tfds.even_splits` returns.
        counts: split name -> number of examples.
        who: name of the data, for messages.

    Returns:
        np.int64 `[n]`, in the order of the string.

    Raises:
        ValueError: unknown split, malformed slice, or nothing selected.
    """
    starts = dict(zip(ordered(counts), offsets(counts), strict=True))
    try:
        parts = _slices(split, counts) if isinstance(split, str) else _told(split, counts)
    except (ValueError, AssertionError) as error:
        close = difflib.get_close_matches(str(split).partition("[")[0], list(counts), n=1)
        hint = f" Did you mean {close[0]!r}?" if close and close[0] not in str(split) else ""
        raise ValueError(
            f"{who}: expected splits {', '.join(ordered(counts))} or slices of them. "
            f"Received: split={str(split)!r} ({error}).{hint}"
        ) from error
    chosen = [starts[name] + np.arange(first, last, dtype=np.int64) for name, first, last in parts]
    chosen = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    if not len(chosen):
        raise ValueError(f"{who}: expected a split with at least one example. Received: split={str(split)!r}.")
    return chosen


def _told(split, counts):
    """What an instruction of TFDS selects, as `_slices`."""
    infos = {name: types.SimpleNamespace(num_examples=n, shard_lengths=[n]) for name, n in counts.items()}
    parts = [(part.splitname, slice(part.from_, part.to)) for part in split.to_absolute(infos)]
    return [(name, *rows.indices(counts[name])[:2]) for name, rows in parts]


def _slices(split, counts):
    """What a split string selects: triples of a split's name, first row and end."""
    if split == "all":
        return [(name, 0, count) for name, count in counts.items()]
    found = [_PART.fullmatch(part.strip()) for part in split.split("+")]
    if not all(found) or any(part["colon"] and not (part["first"] or part["last"]) for part in found):
        raise ValueError("neither NAME nor NAME[FROM:TO]")
    unknown = [part["name"] for part in found if part["name"] not in counts]
    if unknown:
        raise ValueError(f"there is no split {unknown[0]!r}")
    return [_slice(part, counts[part["name"]]) for part in found]


def _slice(part, count):
    bounds = part["first"], part["last"]
    percent = any(bound and bound.endswith("%") for bound in bounds)  # of one bound is of both
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


def within(rows, counts):
    """The splits that some positions lie in, and the same positions within the concatenation of these splits alone.

    Args:
        rows: np.int64 `[n]`, as `rows` returns them.
        counts: split name -> number of examples.

    Returns:
        Names, in the order of `ordered`, and np.int64 `[n]`.
    """
    names, positions, before = [], np.empty(len(rows), np.int64), 0
    for name, start in zip(ordered(counts), offsets(counts), strict=True):
        inside = (rows >= start) & (rows < start + counts[name])
        if inside.any():
            names.append(name)
            positions[inside] = rows[inside] - start + before
            before += counts[name]
    return names, positions


def ordered(counts):
    """Split names: `train`, then the others by name."""
    return sorted(counts, key=lambda name: (name != "train", name))


def offsets(counts):
    """Position of each split's first example, in the order of `ordered`."""
    numbers = [counts[name] for name in ordered(counts)]
    return [int(start) for start in np.cumsum([0, *numbers[:-1]])]
