"""Bodies of predict requests and answers as JSON, by rows ("instances") or by columns ("inputs").

See https://www.tensorflow.org/tfx/serving/api_rest for the format.
"""

import base64
import itertools
import json
import reprlib
from typing import Any

import numpy as np
import orjson

from zoo.serving import limits, servable, status, tensors

_RANKS = 32
# Kind of a NumPy type -> the JSON values of it.
_VALUES = {
    "f": "numbers within its range and precision",
    "i": "whole numbers within its range",
    "u": "whole numbers within its range",
    "b": "true or false",
    "O": 'strings or {"b64": "..."}',
}


def _invalid(expected: str, received: object) -> status.ServingError:
    return status.error("JSON", expected, received)


def parse(body: bytes) -> dict:
    """Returns the object of a request's body, which may hold NaN and Infinity; ServingError where it is none."""
    try:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            if b"NaN" not in body and b"Infinity" not in body:
                raise
            document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _invalid("a JSON document", error) from error
    if not isinstance(document, dict):
        raise _invalid("an object", reprlib.repr(document))
    return document


def signature_name(document: dict) -> str:
    """Returns the signature that a request names, or ""."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _invalid("`signature_name` to be a string", reprlib.repr(name))
    return name


def arrays(document: dict, signature: servable.Signature, bounds: limits.Limits) -> tuple[dict[str, np.ndarray], bool]:
    """Returns the inputs of a request by name; and whether the answer has rows, `predictions`, or columns, `outputs`.

    ServingError where the request does not fit the signature.
    """
    keys = [key for key in ("instances", "inputs") if key in document]
    if len(keys) != 1:
        raise _invalid("either 'instances' or 'inputs' as a key", reprlib.repr(list(document)))
    columns = (_from_rows if keys == ["instances"] else _from_columns)(document[keys[0]], set(signature.inputs))
    return {name: _array(name, value, signature, bounds) for name, value in columns.items()}, keys == ["instances"]


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not (len(value) == 1 and isinstance(value.get("b64"), str))


def _from_rows(rows: Any, names: set[str]) -> dict[str, list]:
    if not isinstance(rows, list) or not rows:
        raise _invalid("`instances` to be a list of one or more rows", reprlib.repr(rows))
    if len(names) == 1 and not any(map(_is_object, rows)):
        return {name: rows for name in names}
    for index, row in enumerate(rows):
        if not _is_object(row) or set(row) != names:
            raise _invalid(f"row {index} of `instances` to be an object with {sorted(names)}", reprlib.repr(row))
    return {name: [row[name] for row in rows] for name in names}


def _from_columns(value: Any, names: set[str]) -> dict[str, Any]:
    if len(names) == 1 and not _is_object(value):
        return {name: value for name in names}
    if not _is_object(value) or not names <= set(value):
        raise _invalid(f"`inputs` to be an object with {sorted(names)}", reprlib.repr(value))
    return {name: value[name] for name in names}


def _array(name: str, value: Any, signature: servable.Signature, bounds: limits.Limits) -> np.ndarray:
    spec, shape, first = signature.inputs[name], [], value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    if len(shape) > _RANKS:
        raise status.error(f"Input {name}", f"at most {_RANKS} dimensions", len(shape))
    flat = _flat(name, value, shape)
    try:
        array = _converted(flat, spec.dtype).reshape(shape)
    except ValueError:
        low, high = 0, len(flat)
        while high - low > 1:  # halves find the first wrong value in linear time
            middle = (low + high) // 2
            low, high = (middle, high) if _is_valid(flat[low:middle], spec.dtype) else (low, middle)
        received = f"{reprlib.repr(flat[low])} at {_place(low, shape)}"
        raise status.error(f"Input {name}", f"{spec}, {_VALUES[spec.dtype.kind]}", received) from None
    servable.check_kind(signature, name, array.dtype, array.shape, bounds)
    return array


def _place(index: int, shape: list[int]) -> list[int]:
    return [int(at) for at in np.unravel_index(index, shape)] if shape else []


def _flat(name: str, value: Any, shape: list[int]) -> list:
    """Returns the values of nested lists in a row; ServingError where a list does not have the size of the first."""
    if not shape:
        return [value]
    for level, size in enumerate(shape[1:], 1):
        # The innermost lists are many: functions that loop in C look at them.
        if set(map(type, value)) != {list} or set(map(len, value)) != {size}:
            index = next(i for i, item in enumerate(value) if not isinstance(item, list) or len(item) != size)
            place = _place(index, shape[:level])
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
    return base64.b64decode(value["b64"], validate=True)


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
        raise _invalid("'inputs' instead of 'instances', since the outputs do not share their rows", f"shapes={shapes}")
    if len(values) == 1:
        (answer,) = values.values()
    elif rows:
        answer = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    else:
        answer = values
    document = {"predictions" if rows else "outputs": answer}
    if all(np.isfinite(array).all() for array in outputs.values() if array.dtype.kind == "f"):
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY, default=_scalar)
    return json.dumps(document, default=_scalar).encode()


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
