"""Bodies of predict requests and answers as JSON, by rows ("instances") or by columns ("inputs").

See https://www.tensorflow.org/tfx/serving/api_rest for the format.
"""

import base64
import functools
import itertools
import json
import reprlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson

from zoo.serving import json_pieces, limits, servable, status, tensors, turns

_RANKS = 32
_PART = 1 << 20  # characters of base64 that are decoded at a time; a multiple of 4
_ANSWER = 1 << 18  # bytes of arrays that are written at a time
# Kind of a NumPy type -> the JSON values of it.
_VALUES = {
    "f": "numbers within its range and precision",
    "i": "whole numbers within its range",
    "u": "whole numbers within its range",
    "b": "true or false",
    "O": 'strings or {"b64": "..."}',
}


def signature_name(document: dict) -> str:
    """Returns the signature that a request names, or ""."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise json_pieces.invalid("`signature_name` to be a string", reprlib.repr(name))
    return name


def arrays(
    document: dict, signature: servable.Signature, bounds: limits.Limits
) -> turns.Steps[tuple[dict[str, np.ndarray], bool]]:
    """Reads the inputs of a request by name; and whether the answer has rows, `predictions`, or columns, `outputs`.

    Args:
        document: from `json_pieces.document`.
        signature: that is asked.
        bounds: limits of inputs.

    Raises:
        ServingError: where the request does not fit the signature.
    """
    keys = [key for key in ("instances", "inputs") if key in document]
    if len(keys) != 1:
        raise json_pieces.invalid("either 'instances' or 'inputs' as a key", reprlib.repr(list(document)))
    names, value = set(signature.inputs), _joinable(document[keys[0]], signature, bounds)
    if keys == ["inputs"]:
        columns = _from_columns(value, names)
        found: dict[str, np.ndarray] = {}
        for name in columns:
            parts = ((first, {name: rows}) for first, rows in _numbered(columns[name]))
            found |= yield from _read(parts, columns[name], signature, bounds)
        if isinstance(value, dict):
            yield from json_pieces.check(value[name] for name in value.keys() - columns.keys())
        return found, False
    rows = ((first, _from_rows(rows, names, first)) for first, rows in _numbered(value))
    return (yield from _read(rows, value, signature, bounds)), True


def _joinable(value: Any, signature: servable.Signature, bounds: limits.Limits) -> Any:
    """Returns a value of a document with its lists in pieces only where their rows can be joined again."""
    if isinstance(value, dict):
        return {name: _joinable(item, signature, bounds) for name, item in value.items()}
    if not isinstance(value, json_pieces.Rows):
        return value
    if signature.batched:
        if value.count > bounds.rows:
            raise status.error("JSON", f"at most {bounds.rows} rows", value.count)
        return value
    if value.elements > bounds.elements:
        raise json_pieces.excess(value.elements, bounds)
    return list(itertools.chain.from_iterable(value.pieces()))


def _numbered(value: Any) -> Iterator[tuple[int, Any]]:
    """Yields the pieces of a value, and the index of the first row of each; what is not in pieces is one."""
    if not isinstance(value, json_pieces.Rows):
        yield 0, value
        return
    first = 0
    for rows in value.pieces():
        yield first, rows
        first += len(rows)


def _read(
    pieces: Iterator[tuple[int, dict[str, Any]]], whole: Any, signature: servable.Signature, bounds: limits.Limits
) -> turns.Steps[dict[str, np.ndarray]]:
    """Reads arrays by name from columns by name, some rows at a time."""
    parts: list[dict[str, np.ndarray]] = []
    for first, columns in pieces:
        part = {name: _array(name, value, signature, bounds, first) for name, value in columns.items()}
        for name, array in part.items():
            if not parts and isinstance(whole, json_pieces.Rows):
                servable.check_kind(signature, name, array.dtype, (whole.count, *array.shape[1:]), bounds)
            shape = parts[0][name].shape[1:] if parts else array.shape[1:]
            if array.shape[1:] != shape:
                raise status.error(f"Input {name}", f"rows of shape {shape} from {[first]} on", array.shape[1:])
        parts.append(part)
        if isinstance(whole, json_pieces.Rows):
            yield
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not (len(value) == 1 and isinstance(value.get("b64"), str))


def _from_rows(rows: Any, names: set[str], first: int) -> dict[str, list]:
    if not isinstance(rows, list) or not rows:
        raise json_pieces.invalid("`instances` to be a list of one or more rows", reprlib.repr(rows))
    if len(names) == 1 and not any(map(_is_object, rows)):
        return {name: rows for name in names}
    for index, row in enumerate(rows, first):
        if not _is_object(row) or set(row) != names:
            raise json_pieces.invalid(
                f"row {index} of `instances` to be an object with {sorted(names)}", reprlib.repr(row)
            )
    return {name: [row[name] for row in rows] for name in names}


def _from_columns(value: Any, names: set[str]) -> dict[str, Any]:
    if len(names) == 1 and not _is_object(value):
        return {name: value for name in names}
    if not _is_object(value) or not names <= set(value):
        raise json_pieces.invalid(f"`inputs` to be an object with {sorted(names)}", reprlib.repr(value))
    return {name: value[name] for name in names}


def _array(name: str, value: Any, signature: servable.Signature, bounds: limits.Limits, first: int) -> np.ndarray:
    """Returns the value of an input, or its rows from `first` on."""
    spec, shape, inner = signature.inputs[name], [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    if len(shape) > _RANKS:
        raise status.error(f"Input {name}", f"at most {_RANKS} dimensions", len(shape))
    flat = _flat(name, value, shape, first)
    try:
        array = _converted(flat, spec.dtype).reshape(shape)
    except ValueError:
        low, high = 0, len(flat)
        while high - low > 1:  # halves find the first wrong value in linear time
            middle = (low + high) // 2
            low, high = (middle, high) if _is_valid(flat[low:middle], spec.dtype) else (low, middle)
        received = f"{reprlib.repr(flat[low])} at {_place(low, shape, first)}"
        raise status.error(f"Input {name}", f"{spec}, {_VALUES[spec.dtype.kind]}", received) from None
    servable.check_kind(signature, name, array.dtype, array.shape, bounds)
    return array


def _place(index: int, shape: list[int], first: int) -> list[int]:
    place = [int(at) for at in np.unravel_index(index, shape)] if shape else []
    return [first + place[0], *place[1:]] if place else []


def _flat(name: str, value: Any, shape: list[int], first: int) -> list:
    """Returns the values of nested lists in a row; ServingError where a list does not have the size of the first."""
    if not shape:
        return [value]
    for level, size in enumerate(shape[1:], 1):
        # The innermost lists are many: functions that loop in C look at them.
        if set(map(type, value)) != {list} or set(map(len, value)) != {size}:
            index = next(i for i, item in enumerate(value) if not isinstance(item, list) or len(item) != size)
            place = _place(index, shape[:level], first)
            raise status.error(f"Input {name}", f"a list of {size} at {place}", reprlib.repr(value[index]))
        value = list(itertools.chain.from_iterable(value))
    return value


def _is_valid(flat: list, dtype: np.dtype) -> bool:
    try:
        _converted(flat, dtype)
    except ValueError:
        return False
    return True


def _converted(flat: list, dtype: np.dtype) -> np.ndarray:
    """Returns JSON values as an array `[B]`; ValueError where one of them is not of the type. Loops in C on numbers."""
    types, info = set(map(type, flat)), np.iinfo(dtype) if dtype.kind in "iu" else None
    if dtype.kind == "O":
        return tensors.strings(list(map(_bytes, flat)))
    # NumPy would take booleans for numbers, and the reverse.
    if not types <= ({bool} if dtype.kind == "b" else {int, float} if dtype.kind == "f" else {int}):
        raise ValueError
    if info and flat and not info.min <= min(flat) <= max(flat) <= info.max:
        raise ValueError
    if dtype.kind != "f":
        return np.array(flat, dtype)
    try:
        array = np.array(flat, np.float64)
    except OverflowError as error:
        raise ValueError from error
    # Whole numbers beyond the mantissa, and what overflows, are refused.
    limit = 2 ** (np.finfo(dtype).nmant + 1)
    if int in types and (np.abs(array) >= limit).any() and any(abs(x) >= limit for x in flat if isinstance(x, int)):
        raise ValueError
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if (np.isinf(cast) & np.isfinite(array)).any():
        raise ValueError
    return cast


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()  # half of a surrogate pair is a ValueError
    if not isinstance(value, dict) or _is_object(value):
        raise ValueError
    text = value["b64"]
    if "=" in text[:-2]:  # the decoder would see it in the last part only
        raise ValueError
    # In parts, between which others run.
    return b"".join(base64.b64decode(text[at : at + _PART], validate=True) for at in range(0, len(text), _PART))


def dumps(outputs: dict[str, np.ndarray], rows: bool) -> bytes:
    """Returns the body of an answer; ServingError where outputs without common rows are to be written as rows.

    Args:
        outputs: arrays by name; strings of names that end in `_bytes` are written as base64.
        rows: whether to write `predictions`, an entry for each row, instead of `outputs`, an entry for each array.
    """
    values: dict[str, Any] = {name: _writable(name, array) for name, array in outputs.items()}
    counts = {array.shape[:1] for array in outputs.values()}
    if rows and (len(counts) != 1 or counts == {()}):
        shapes = {name: array.shape for name, array in outputs.items()}
        raise json_pieces.invalid(
            "'inputs' instead of 'instances', since the outputs do not share their rows", f"shapes={shapes}"
        )
    if len(values) == 1:
        (answer,) = values.values()
    elif rows:
        answer = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    else:
        answer = values
    dump: Callable[..., Any] = functools.partial(json.dumps, separators=(",", ":"))
    if all(np.isfinite(array).all() for array in outputs.values() if array.dtype.kind == "f"):
        dump = functools.partial(orjson.dumps, option=orjson.OPT_SERIALIZE_NUMPY)
    written = _written(answer, dump, sum(array.nbytes for array in outputs.values()))
    return b'{"%s":%s}' % (b"predictions" if rows else b"outputs", written)


def _written(value: Any, dump: Callable[..., Any], size: int) -> bytes:
    """Returns JSON of arrays of a size in bytes; row by row where they are many, since others wait meanwhile."""

    def text(part: Any) -> bytes:
        written = dump(part, default=_scalar)
        return written if isinstance(written, bytes) else written.encode()

    if isinstance(value, dict):
        return b"{%s}" % b",".join(text(name) + b":" + _written(item, dump, size) for name, item in value.items())
    if size <= _ANSWER or not isinstance(value, list | np.ndarray) or not len(value):
        return text(value)
    rows = max(1, _ANSWER * len(value) // size)
    return b"[%s]" % b",".join(text(value[at : at + rows]).strip()[1:-1] for at in range(0, len(value), rows))


def _writable(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        return np.ascontiguousarray(array) if array.ndim else array[()]
    if name.endswith("_bytes"):
        write: Any = lambda data: {"b64": base64.b64encode(data).decode()}  # noqa: E731
    else:
        write = lambda data: data.decode(errors="replace")  # noqa: E731
    return np.frompyfunc(write, 1, 1)(array).tolist() if array.ndim else write(array[()])


def _scalar(value: Any) -> Any:
    """Returns arrays and scalars of NumPy that a JSON writer does not know as plain values."""
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(type(value).__name__)
    if value.dtype.kind == "f" and value.dtype.itemsize < 8:
        # As its shortest text, not as the double that is nearest to it.
        value = value.astype(str).astype(np.float64)
    return value.tolist()
