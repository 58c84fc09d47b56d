"""Bodies of predict requests and answers as JSON, by rows ("instances") or by columns ("inputs").

See https://www.tensorflow.org/tfx/serving/api_rest for the format.
"""

import base64
import itertools
import json
import math
import reprlib
from typing import Any

import numpy as np
import orjson

from zoo.serving import limits, servable, status

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
    return status.invalid("JSON", expected, received)


def parse(body: bytes) -> dict:
    """Returns the object of a request's body, which may hold NaN and Infinity.

    Raises:
        ServingError: where the body is not JSON or not an object.
    """
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


def arrays(
    document: dict, signature: "servable.Signature", bounds: limits.Limits
) -> tuple[dict[str, np.ndarray], bool]:
    """Returns the inputs of a request.

    Args:
        document: as `parse` returns it.
        signature: the signature that is called.
        bounds: of the request.

    Returns:
        Arrays by name; and whether the answer has rows, `predictions`, instead of columns, `outputs`.

    Raises:
        ServingError: where the request does not fit the signature.
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


def _array(name: str, value: Any, signature: "servable.Signature", bounds: limits.Limits) -> np.ndarray:
    spec, shape, first = signature.inputs[name], [], value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    if len(shape) > _RANKS:
        raise status.invalid(f"Input {name}", f"at most {_RANKS} dimensions", len(shape))
    flat = _flat(name, value, shape)
    array = _numbers(flat, spec.dtype)
    if array is None:
        array = np.empty(len(flat), spec.dtype)
        for index, item in enumerate(flat):
            try:
                array[index] = _value(item, spec.dtype)
            except ValueError:
                expected, received = f"{spec}, {_VALUES[spec.dtype.kind]}", reprlib.repr(item)
                raise status.invalid(f"Input {name}", expected, f"{received} at {_place(index, shape)}") from None
    array = array.reshape(shape)
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
            raise status.invalid(f"Input {name}", f"a list of {size} at {place}", reprlib.repr(value[index]))
        value = list(itertools.chain.from_iterable(value))
    return value


def _numbers(flat: list, dtype: np.dtype) -> np.ndarray | None:
    """Returns numbers as an array; None where they must be looked at one by one."""
    types = set(map(type, flat))
    # NumPy would take booleans for numbers.
    if dtype.kind not in "fiu" or not types or not types <= {int, float}:
        return None
    array = np.array(flat)
    if array.dtype.kind not in "fiu":  # whole numbers of more than 64 bits
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    if dtype.kind == "f":
        # Whole numbers beyond the mantissa, and what overflows, are refused.
        limit = 2.0 ** (np.finfo(dtype).nmant + 1)
        lossy = int in types and bool((np.abs(array.astype(np.float64)) >= limit).any())
        return None if lossy or (np.isinf(cast) & np.isfinite(array)).any() else cast
    info = np.iinfo(dtype)
    fits = array.dtype.kind in "iu" and array.min() >= info.min and array.max() <= info.max
    return cast if fits else None


def _value(value: Any, dtype: np.dtype) -> Any:
    """Returns a JSON value as an element of an array of a type; ValueError where it is none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype.kind == "O" and isinstance(value, str):
        return value.encode()  # half of a surrogate pair is a ValueError
    if dtype.kind == "O" and isinstance(value, dict) and not _is_object(value):
        return base64.b64decode(value["b64"], validate=True)
    if dtype.kind == "b" and isinstance(value, bool):
        return value
    if dtype.kind == "f" and number:
        largest = 2 ** (np.finfo(dtype).nmant + 1) - 1 if isinstance(value, int) else float(np.finfo(dtype).max)
        if abs(value) <= largest or not isinstance(value, int) and not math.isfinite(value):
            return value
    if dtype.kind in "iu" and number and isinstance(value, int):
        if np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            return value
    raise ValueError


def dumps(outputs: dict[str, np.ndarray], rows: bool) -> bytes:
    """Returns the body of an answer.

    Args:
        outputs: arrays by name; strings of names that end in `_bytes` are written as base64.
        rows: whether to write `predictions`, an entry for each row, instead of `outputs`, an entry for each array.

    Raises:
        ServingError: where rows are wanted of arrays that differ in their first dimension, or have none.
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
