"""Predict requests and answers as JSON, in TensorFlow Serving's two formats and with its rules and messages.

See https://www.tensorflow.org/tfx/serving/api_rest; messages and order of the checks follow util/json_tensor.cc there.
"""

import base64
import binascii
import itertools
import json
import math

import numpy as np
import orjson

from zoo.serving import servable, status, tensors

_SHOWN = 200  # characters of a value that a message repeats
_RANKS = 32
_TYPES = {dict: "Object", list: "Array", str: "String", bool: None, int: "Number", float: "Number", type(None): "Null"}


def _bad(message):
    return status.ServingError("INVALID_ARGUMENT", message)


def _text(value):
    """A JSON value for a message, shortened before it is written: requests may be large."""
    try:
        text = json.dumps(value if not isinstance(value, list | dict | str) else _cut(value))
    except (ValueError, RecursionError):
        text = "..."
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _cut(value, depth=3):
    if isinstance(value, str):
        return value[:_SHOWN]
    if isinstance(value, list | dict) and depth == 0:
        return "..."
    if isinstance(value, list):
        return [_cut(each, depth - 1) for each in value[:10]]
    if isinstance(value, dict):
        return {key[:_SHOWN]: _cut(each, depth - 1) for key, each in list(value.items())[:10]}
    return value


def _type_of(value):
    return str(value) if isinstance(value, bool) else _TYPES[type(value)]


def parse(body):
    """The object of a request's body; NaN and Infinity are numbers, as in Python's and TensorFlow Serving's JSON.

    Args:
        body: bytes.

    Raises:
        ServingError: no JSON, or no object.
    """
    if not body:
        raise _bad("JSON Parse error: The document is empty at offset: 0")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not (b"NaN" in body or b"Infinity" in body):
            raise _bad(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as strict:
            raise _bad(f"JSON Parse error: {strict}") from strict
    if not isinstance(document, dict):
        raise _bad(f"JSON Value: {_text(document)} Is not object")
    return document


def signature_name(document):
    """The signature that a request names, or None."""
    name = document.get("signature_name")
    if "signature_name" in document and not isinstance(name, str):
        raise _bad(
            f"JSON Value: {_text(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def arrays(document, signature, limits):
    """The inputs of a request.

    Args:
        document: as `parse` returns it.
        signature: `servable.Signature`.
        limits: `limits.Limits`.

    Returns:
        arrays by name; and whether the answer is to have rows, `predictions`, or columns, `outputs`.

    Raises:
        ServingError: what of the request does not fit the signature.
    """
    if "instances" in document and "inputs" in document:
        raise _bad(
            f"JSON Value: {_text(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
            "to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise _bad(f"JSON Value: {_text(document)} Excepting 'instances' to be an list/array")
        if not instances:
            raise _bad(f"JSON Value: {_text(document)} No values in 'instances' array")
        return _rows(instances, signature, limits), True
    if "inputs" in document:
        return _columns(document["inputs"], signature, limits), False
    raise _bad("Missing 'inputs' or 'instances' key")


def _is_base64(value):
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _rows(instances, signature, limits):
    names = sorted(signature.inputs)
    if len(names) > 1 and not isinstance(instances[0], dict):
        raise _bad(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    objects = isinstance(instances[0], dict) and not _is_base64(instances[0])
    for index, item in enumerate(instances):
        is_object = isinstance(item, dict) and not _is_base64(item)
        if objects and not is_object:
            raise _bad(f"Expecting object but got list at item {index} of input list")
        if is_object and not objects:
            raise _bad(f"Expecting value/list but got object at item {index} of input list")
        if objects:
            for name in item:
                if name not in signature.inputs:
                    raise _bad(
                        f"Failed to process element: {index} key: {name[:_SHOWN]} of 'instances' list. Error: "
                        f"INVALID_ARGUMENT: JSON object: does not have named input: {name[:_SHOWN]}"
                    )
            if len(item) != len(names):
                raise _bad(
                    f"Failed to process element: {index} of 'instances' list. JSON object: {_text(item)} keys must be "
                    f"equal to: {','.join(names)}"
                )
    columns = {name: [item[name] for item in instances] for name in names} if objects else {names[0]: instances}
    return {
        name: _array(column, name, signature, limits, f" key: {name}" if objects else "")
        for name, column in columns.items()
    }


def _columns(value, signature, limits):
    if not isinstance(value, dict) or _is_base64(value):
        if len(signature.inputs) > 1:
            raise _bad(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        value = {next(iter(signature.inputs)): value}
    for name in signature.inputs:
        if name not in value:
            raise _bad(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(value[name], name, signature, limits) for name in signature.inputs}


def _shape(value):
    """The shape that the first elements tell."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _array(value, name, signature, limits, element=None):
    """An input from its JSON value; with `element`, errors say which row they are of, and that word."""
    dtype, shape = signature.inputs[name].dtype, _shape(value)
    if len(shape) > _RANKS:
        raise _bad(f"Input {name}: expected at most {_RANKS} dimensions. Received: {len(shape)}.")
    array = _quick(value, shape, dtype) if dtype.kind in "fiu" else None
    if array is None:
        array = _careful(value, shape, dtype, element)
    servable.check_kind(signature, name, array.dtype, array.shape, limits)
    return array


def _flat(value, shape):
    """The values of regular lists in a row, or None where a list has another length than its like."""
    if not shape:
        return [value]
    for size in shape[1:]:
        # Of the innermost lists there are many: all is done by functions that loop in C.
        if set(map(type, value)) != {list} or set(map(len, value)) != {size}:
            return None
        value = list(itertools.chain.from_iterable(value))
    return value


def _quick(value, shape, dtype):
    """The array of regular numbers; None where it takes a closer look."""
    flat = _flat(value, shape)
    types = set(map(type, flat or ()))
    # NumPy would take booleans for numbers.
    if not types or not types <= {int, float}:
        return None
    try:
        array = np.array(flat)
    except OverflowError:
        return None
    if array.dtype.kind not in "fiu":  # whole numbers of more than 64 bits
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            cast = array.astype(dtype)
        # Whole numbers beyond the mantissa, and what overflows, are refused.
        most = 2.0 ** (np.finfo(dtype).nmant + 1)
        whole = int in types and (np.abs(array.astype(np.float64)) >= most).any()
        if whole or (np.isinf(cast) & np.isfinite(array)).any():
            return None
    else:
        limits = np.iinfo(dtype)
        if array.dtype.kind not in "iu" or array.min() < limits.min or array.max() > limits.max:
            return None
        cast = array.astype(dtype)
    return cast.reshape(shape)


def _careful(value, shape, dtype, element):
    """The array, value by value, or TensorFlow Serving's words about the first that does not fit."""
    flat = []
    if element is None:
        _fill(value, 0, shape, dtype, flat)
    else:
        for index, item in enumerate(value):
            try:
                # Every row is first held against its own shape, then against that of the first.
                inner = _shape(item)
                if len(inner) > _RANKS:
                    raise _bad(f"Expecting at most {_RANKS} dimensions but got: {len(inner)}")
                before = len(flat)
                _fill(item, 0, inner, dtype, flat)
                if len(flat) - before != math.prod(shape[1:]):
                    raise _bad(f"Expecting tensor size: {math.prod(shape[1:])} but got: {len(flat) - before}")
                if inner != shape[1:]:
                    listed = ["[" + ",".join(map(str, sizes)) + "]" for sizes in (shape[1:], inner)]
                    raise _bad(f"Expecting shape {listed[0]} but got: {listed[1]}")
            except status.ServingError as error:
                raise _bad(
                    f"Failed to process element: {index}{element} of 'instances' list. Error: "
                    f"INVALID_ARGUMENT: {error.message}"
                ) from error
    array = np.empty(len(flat), dtype)
    array[:] = flat
    return array.reshape(shape)


def _fill(value, level, shape, dtype, flat):
    if not isinstance(value, list):
        if level != len(shape):
            raise _bad(
                f"JSON Value: {_text(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level: "
                f"{len(shape)}"
            )
        flat.append(_value(value, dtype))
        return
    if level >= len(shape):
        raise _bad(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise _bad(f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}")
    for each in value:
        _fill(each, level + 1, shape, dtype, flat)


def _value(value, dtype):
    """One value, checked against the type of its tensor."""
    if dtype.kind == "O":
        if isinstance(value, str):
            return _encoded(value)
        if not isinstance(value, dict):
            raise _mismatch(value, dtype)
        if not _is_base64(value):
            raise _bad(f"JSON Value: {_text(value)} not formatted correctly for base64 data")
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise _bad("Unable to base64 decode") from None
    if dtype.kind == "b":
        if not isinstance(value, bool):
            raise _mismatch(value, dtype)
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _mismatch(value, dtype)
    if dtype.kind == "f":
        most = 2 ** (np.finfo(dtype).nmant + 1) - 1
        lossy = (
            abs(value) > most
            if isinstance(value, int)
            else math.isfinite(value) and abs(value) > float(np.finfo(dtype).max)
        )
        if lossy:
            kind = {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)
            raise _bad(f"Cannot convert JSON value: {_text(value)} to {kind} without loss of precision.")
        return value
    limits = np.iinfo(dtype)
    if not isinstance(value, int) or not limits.min <= value <= limits.max:
        raise _mismatch(value, dtype)
    return value


def _encoded(text):
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        raise _bad(f"JSON Value: {_text(text)} is no Unicode text") from None


def _mismatch(value, dtype):
    kind = {"DT_FLOAT": "float", "DT_DOUBLE": "double", "DT_STRING": "string"}
    name = tensors.type_name(dtype)
    name = kind.get(name, name.removeprefix("DT_").lower())
    return _bad(f"JSON Value: {_text(value)} Type: {_type_of(value)} is not of expected type: {name}")


def dumps(outputs, rows):
    """The body of an answer.

    Args:
        outputs: arrays by name.
        rows: whether as `predictions`, one entry per row, or as `outputs`, one per tensor.

    Returns:
        bytes.

    Raises:
        ServingError: rows of tensors that have different first dimensions, or none.
    """
    values = {name: _writable(name, array) for name, array in outputs.items()}
    if not rows:
        answer = {"outputs": next(iter(values.values())) if len(values) == 1 else values}
        return _written(answer, outputs)
    for name, array in outputs.items():
        if not array.ndim:
            raise _bad(f"Tensor name: {name} has no shape information ")
    count = len(next(iter(outputs.values())))
    for name, array in outputs.items():
        if len(array) != count:
            raise _bad(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {count}")
    if len(values) == 1:
        return _written({"predictions": next(iter(values.values()))}, outputs)
    return _written({"predictions": [{name: values[name][i] for name in values} for i in range(count)]}, outputs)


def _writable(name, array):
    if array.dtype != object:
        return np.ascontiguousarray(array) if array.ndim else array[()]
    write = _as_base64 if name.endswith("_bytes") else lambda data: data.decode(errors="replace")
    return _mapped(array.tolist(), write)


def _as_base64(data):
    return {"b64": base64.b64encode(data).decode()}


def _mapped(value, function):
    return [_mapped(each, function) for each in value] if isinstance(value, list) else function(value)


def _written(answer, outputs):
    finite = all(np.isfinite(array).all() for array in outputs.values() if array.dtype.kind == "f")
    if finite:
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY, default=_scalar)
    return json.dumps(answer, default=_scalar).encode()


def _scalar(value):
    """What a JSON writer does not know: arrays and scalars of NumPy."""
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(type(value).__name__)
    if value.dtype.kind == "f" and value.dtype.itemsize < 8:
        # As its shortest text, not as the double that is nearest to it.
        value = value.astype(str).astype(np.float64)
    return value.tolist()
