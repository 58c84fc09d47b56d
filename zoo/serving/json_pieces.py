"""Large JSON bodies, read in pieces: their rows are found and counted before any of them becomes an object.

A parser does not let others run before it is done, and a megabyte may hold half a million lists. So the brackets are
looked at by NumPy, the lists of rows are cut at commas between rows, and each piece is parsed on its own.
"""

import dataclasses
import json
import reprlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson

from zoo.serving import limits, status, turns

WHOLE = 64 << 10  # bytes of a body that is parsed at once
_SLICE = 1 << 20  # bytes that are looked at in a step
_PIECE = 10_000  # values and lists of a piece, which takes some milliseconds
_MOST_LISTS = 1000  # of rows in a body


def invalid(expected: str, received: object) -> status.ServingError:
    """Returns the error of a body."""
    return status.error("JSON", expected, received)


def parsed(text: bytes) -> Any:
    """Returns the value of a JSON text, which may hold NaN and Infinity; ServingError where it is none."""
    try:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            if b"NaN" not in text and b"Infinity" not in text:
                raise
            return json.loads(text.decode())  # of bytes, it would take other encodings, too
    except (ValueError, RecursionError) as error:
        raise invalid("a JSON document", error) from error


@dataclasses.dataclass(repr=False)
class Rows:
    """A list of a body that is not parsed yet.

    Args:
        body: the body.
        start: position behind the opening bracket.
        ends: where the pieces end, at commas between rows and at the closing bracket.
        count: number of rows.
        elements: number of values and lists.
    """

    body: bytes
    start: int
    ends: list[int] = dataclasses.field(default_factory=list)
    count: int = 1
    elements: int = 0

    def __repr__(self) -> str:
        return f"a list of {self.count} values"  # errors name it, and the body may be large

    def pieces(self) -> Iterator[list]:
        """Yields the rows, a list of some at a time; ServingError where a piece is none."""
        start = self.start
        for end in self.ends:
            piece = parsed(b"[%s]" % self.body[start:end])
            if not piece:
                raise invalid("a JSON document", f"no value before position {end}")
            yield piece
            start = end + 1


def document(body: bytes, bounds: limits.Limits) -> turns.Steps[dict]:
    """Reads the object of a body; in a large one the lists of `instances` or `inputs` are `Rows`.

    Raises:
        ServingError: for a body that is no object, or one of too many values.
    """
    if len(body) < WHOLE:
        return _object(parsed(body))
    if body[:_SLICE].lstrip()[:1] != b"{":
        raise invalid("a JSON document that is an object", reprlib.repr(body[:100]))
    if b"\\" in body:  # strings with escapes are not looked through
        _check(sum(map(body.count, (b"[", b"{", b","))), bounds)
        return _object(parsed(body))
    found = yield from _Scan(body, bounds).lists()
    parts, at = [], 0
    for index, rows in enumerate(found):
        parts += [body[at : rows.start], b"%d" % index]
        at = rows.ends[-1]
    frame = b"".join([*parts, body[at:]])
    _check(sum(map(frame.count, (b"[", b"{", b","))), bounds)
    read = {key: _filled(value, found) for key, value in _object(parsed(frame)).items()}
    yield from check(
        [rows for rows in found if not any(_holds(read.get(key), rows) for key in ("instances", "inputs"))]
    )
    return read


def check(lists: Iterable[Any]) -> turns.Steps[None]:
    """Parses the `Rows` among some values that nobody reads: what follows no grammar is refused wherever it stands."""
    for rows in lists:
        for _ in rows.pieces() if isinstance(rows, Rows) else ():
            yield


def _holds(value: Any, rows: Rows) -> bool:
    return any(item is rows for item in (value.values() if isinstance(value, dict) else [value]))


def _object(value: Any) -> dict:
    if not isinstance(value, dict):
        raise invalid("an object", reprlib.repr(value))
    return value


def _check(elements: int, bounds: limits.Limits) -> None:
    if elements > bounds.elements:
        raise excess(elements, bounds)


def excess(elements: int, bounds: limits.Limits) -> status.ServingError:
    """Returns the error of a body of too many values."""
    expected = f"at most {bounds.rows} rows of at most {bounds.elements} values and lists"
    return invalid(expected, f"{elements} or more; send image files instead of numbers, or use gRPC")


def _filled(value: Any, found: list[Rows]) -> Any:
    """Returns the value of a key with the lists in place of their numbers."""
    if isinstance(value, dict):
        return {key: _filled(item, found) if isinstance(item, list) else item for key, item in value.items()}
    return found[value[0]] if isinstance(value, list) and value else value


class _Scan:
    """A pass over the brackets and commas of a body.

    Lists of rows are the values of the body's keys, and those of the keys of an object that is such a value. Both kinds
    of brackets count alike: what does not match fails when it is parsed.
    """

    def __init__(self, body: bytes, bounds: limits.Limits):
        self._body, self._bounds = body, bounds
        self._depth = self._elements = 0  # so far
        self._is_quoted = self._is_object = False  # inside of a string; of an object that is the value of a key
        self._found: list[Rows] = []
        self._rows: Rows | None = None  # the list that is open
        self._level = self._begin = self._row = 0  # its depth, and the elements before it and before its present row

    def lists(self) -> turns.Steps[list[Rows]]:
        """Returns all lists of rows in their order, but empty ones."""
        for start in range(0, len(self._body), _SLICE):
            self._look(start)
            yield
        if self._depth or self._is_quoted:
            raise invalid("a JSON document", "brackets or quotes without their other half")
        return [rows for rows in self._found if len(rows.ends) > 1 or self._body[rows.start : rows.ends[0]].strip()]

    def _look(self, start: int) -> None:
        text = np.frombuffer(self._body, np.uint8, min(_SLICE, len(self._body) - start), start)
        marks = np.isin(text, np.frombuffer(b"[]{},", np.uint8))
        quotes = text == ord('"')
        if self._is_quoted or quotes.any():
            quoted = np.logical_xor.accumulate(quotes) ^ self._is_quoted
            marks &= ~quoted
            self._is_quoted = bool(quoted[-1])
        at = np.flatnonzero(marks)
        text = text[at]
        opens, closes = (text == ord("[")) | (text == ord("{")), (text == ord("]")) | (text == ord("}"))
        depths = self._depth + np.cumsum(opens.astype(np.int64) - closes)
        counts = self._elements + np.cumsum(~closes)
        if not len(at):
            return
        self._depth, self._elements = int(depths[-1]), int(counts[-1])
        # Brackets have the depth of what they hold.
        seen = _Marks(at + start, text, depths + closes, counts, opens | closes)
        done = 0
        for border in [*self._borders(seen, 2, 0, len(at)), len(at)]:
            if self._is_object:
                for inner in self._borders(seen, 3, done, border):
                    self._cut(seen, done, inner)
                    self._turn(seen, inner)
                    done = inner + 1
            self._cut(seen, done, border)
            if border < len(at):
                self._turn(seen, border)
            done = border + 1
        if self._rows and self._rows.count > self._bounds.rows:
            _check(self._elements - self._begin, self._bounds)
        elif self._rows:
            _check(self._elements - self._row, self._bounds)

    def _borders(self, seen: "_Marks", level: int, start: int, end: int) -> list[int]:
        """Returns the indices of the brackets around what is at a depth."""
        found = start + np.flatnonzero(seen.is_bracket[start:end] & (seen.levels[start:end] == level))
        if len(found) > _MOST_LISTS:
            raise invalid(f"at most {_MOST_LISTS} lists of rows", f"{len(found)} or more")
        return found.tolist()

    def _turn(self, seen: "_Marks", index: int) -> None:
        """Passes a bracket at which a list of rows, or an object of such lists, begins or ends."""
        mark, level, position = chr(seen.text[index]), int(seen.levels[index]), int(seen.at[index])
        if mark == "[":
            self._rows, self._level = Rows(self._body, position + 1), level
            self._begin = self._row = int(seen.counts[index])
        elif mark == "{":
            self._is_object = True  # also behind an object in it
        else:
            if self._rows:
                _check(int(seen.counts[index]) - self._row, self._bounds)
                self._rows.ends.append(position)
                self._rows.elements = int(seen.counts[index]) - self._begin
                self._found.append(self._rows)
                self._rows = None
            self._is_object = self._is_object and level == 3

    def _cut(self, seen: "_Marks", start: int, end: int) -> None:
        """Notes the commas between rows, and where pieces end."""
        if not self._rows:
            return
        part = slice(start, end)
        commas = start + np.flatnonzero(~seen.is_bracket[part] & (seen.levels[part] == self._level))
        if not len(commas):
            return
        counts = seen.counts[commas]
        _check(int(np.diff(counts, prepend=self._row).max()), self._bounds)
        pieces = (counts - self._begin) // _PIECE
        is_end = np.diff(pieces, prepend=(self._row - self._begin) // _PIECE) > 0
        self._rows.ends += seen.at[commas[is_end]].tolist()
        self._rows.count += len(commas)
        self._row = int(counts[-1])


class _Marks(NamedTuple):
    """The brackets and commas of a slice, arrays `[N]`: positions, characters, depths, elements so far."""

    at: np.ndarray
    text: np.ndarray
    levels: np.ndarray
    counts: np.ndarray
    is_bracket: np.ndarray
