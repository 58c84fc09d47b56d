"""Conversion between NumPy arrays and TensorFlow's `TensorProto`, without TensorFlow, which clients do not need.

Strings are arrays of `bytes` objects. See tensorflow/core/framework/tensor.proto for the format.
"""

import math
from typing import Any

import numpy as np

from zoo.serving import messages_pb2, status

# NumPy's name -> TensorFlow's number and name, and the field of the values.
_KINDS = {
    "float32": (1, "DT_FLOAT", "float_val"),
    "float64": (2, "DT_DOUBLE", "double_val"),
    "int32": (3, "DT_INT32", "int_val"),
    "uint8": (4, "DT_UINT8", "int_val"),
    "int16": (5, "DT_INT16", "int_val"),
    "int8": (6, "DT_INT8", "int_val"),
    "object": (7, "DT_STRING", "string_val"),
    "int64": (9, "DT_INT64", "int64_val"),
    "bool": (10, "DT_BOOL", "bool_val"),
    "uint16": (17, "DT_UINT16", "int_val"),
    "float16": (19, "DT_HALF", "half_val"),
    "uint32": (22, "DT_UINT32", "uint32_val"),
    "uint64": (23, "DT_UINT64", "uint64_val"),
}
_BY_NUMBER = {number: np.dtype(name) for name, (number, _, _) in _KINDS.items()}
# Tag of the fields that are written raw: the packed values are the array's own bytes.
_TAGS = {"float32": b"\x2a", "float64": b"\x32"}
# Wire types of protocol buffers and their bytes; those of a varint are read on their own.
_SIZES, _SIZED = {0: 0, 1: 8, 5: 4}, 2
_MOST_FIELDS = 10_000  # each string of a tensor is one, whereas numbers are packed
_SHAPE, _LONGEST_SHAPE = 2, 4096
_PART = 1 << 13  # values that are converted at a time, between which others run


def type_name(dtype: Any) -> str:
    """Returns TensorFlow's name of a NumPy type, such as `DT_FLOAT`."""
    return _KINDS[np.dtype(dtype).name][1]


def strings(values: list) -> np.ndarray:
    """Returns a list of `bytes` objects as an array `[B]`."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def to_bytes(array: Any) -> bytes:
    """Returns an array of numbers, `str` or `bytes` as a serialized `TensorProto`, values in the field of the type."""
    array = np.asarray(array)
    if array.dtype.kind in "SU":
        array = (np.char.encode(array) if array.dtype.kind == "U" else array).astype(object)
    if array.dtype.name not in _KINDS:
        raise ValueError(f"tensors: expected one of {', '.join(_KINDS)}. Received: dtype={array.dtype.name}.")
    number, _, field = _KINDS[array.dtype.name]
    proto = messages_pb2.Tensor(dtype=number)
    proto.tensor_shape.SetInParent()  # a scalar has a shape without dimensions
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype.name in _TAGS:
        raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        return proto.SerializeToString() + _TAGS[array.dtype.name] + _varint(len(raw)) + raw
    values = array.view(np.uint16) if field == "half_val" else array
    getattr(proto, field).extend(values.ravel().tolist())
    return proto.SerializeToString()


def fields(data: bytes, who: str, most: int = _MOST_FIELDS) -> dict[int, int]:
    """Returns the number of bytes by the number of a field, in a serialized message that is not parsed yet.

    ServingError where the fields are more than honest messages have: two bytes of an empty message become a hundred.
    """
    found: dict[int, int] = {}
    at = count = 0
    try:
        while at < len(data):
            tag, at = _read_varint(data, at)
            size = _SIZES.get(tag & 7)
            if size is None:
                size, at = _read_varint(data, at) if tag & 7 == _SIZED else (None, at)
            if size is None:
                raise status.error(who, "a message of protocol buffers without groups", f"a field of type {tag & 7}")
            if tag & 7 == 0:
                _, at = _read_varint(data, at)
            at, count = at + size, count + 1
            found[tag >> 3] = found.get(tag >> 3, 0) + size
            if count > most:
                raise status.error(who, f"a message of at most {most} fields", "more")
    except IndexError:
        pass  # cut; the parser says so
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns the number that is written at a position, and the position behind it."""
    value = shift = 0
    while data[at] > 127 and shift < 63:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def parsed(data: bytes, name: str) -> Any:
    """Returns a serialized `TensorProto` as a message; ServingError where it is none."""
    if fields(data, f"Input {name}").get(_SHAPE, 0) > _LONGEST_SHAPE:
        raise status.error(f"Input {name}", f"a shape of at most {_LONGEST_SHAPE} bytes", "more")
    try:
        return messages_pb2.Tensor.FromString(data)
    except Exception as error:  # protobuf raises different ones, by its implementation
        raise status.error(f"Input {name}", "a TensorProto", error) from error


def shape_of(proto: Any) -> tuple[int, ...]:
    """Returns the shape of a `TensorProto`."""
    return tuple(dim.size for dim in proto.tensor_shape.dim)


def dtype_of(proto: Any) -> np.dtype | None:
    """Returns the NumPy type of a `TensorProto`, None where NumPy has none."""
    return _BY_NUMBER.get(proto.dtype)


def to_array(proto: Any, name: str = "tensor") -> np.ndarray:
    """Returns a `TensorProto` as an array; its last value also stands for the missing ones, as in TensorFlow.

    ServingError where values and shape disagree. The caller limits the memory that the shape asks for.
    """
    dtype, shape = dtype_of(proto), shape_of(proto)
    if dtype is None or any(size < 0 for size in shape) or proto.tensor_shape.unknown_rank:
        raise status.error(f"Input {name}", "a known type and shape", f"dtype={proto.dtype}, shape={shape}")
    count = math.prod(shape)
    if proto.tensor_content and dtype.name != "object":
        size = len(proto.tensor_content)
        if size != count * dtype.itemsize:
            raise status.error(f"Input {name}", f"{count * dtype.itemsize} bytes for shape {shape}", f"{size} bytes")
        return np.frombuffer(proto.tensor_content, dtype.newbyteorder("<")).reshape(shape).astype(dtype, copy=False)
    field = getattr(proto, _KINDS[dtype.name][2])
    if len(field) > count or (count and not field):
        raise status.error(f"Input {name}", f"at most {count} values for shape {shape}", f"{len(field)} values")
    array, wide = np.empty(count, dtype), dtype if dtype.itemsize == 8 else None
    for start in range(0, len(field), _PART):
        part = field[start : start + _PART]
        if dtype.name == "float16":
            values = np.array(part, np.uint16).view(np.float16)
        else:
            values = strings(part) if dtype.name == "object" else np.array(part, wide).astype(dtype)
        array[start : start + len(part)] = values
    array[len(field) :] = array[len(field) - 1 : len(field)]
    return array.reshape(shape)
