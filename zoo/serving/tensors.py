"""NumPy arrays as TensorFlow's `TensorProto` and back, without TensorFlow: the client has no need of it.

Strings are arrays of `bytes` objects. See tensorflow/core/framework/tensor.proto for the format.
"""

import math

import numpy as np

from zoo.serving import messages_pb2, status

# NumPy's name -> TensorFlow's number and name, and the field that holds its values one by one.
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
# Field number of what is written raw: the packed values of a field are the array's own bytes.
_RAW = {"float32": 5, "float64": 6}


def type_name(dtype):
    """TensorFlow's name of a NumPy type, such as `DT_FLOAT`."""
    return _KINDS[np.dtype(dtype).name][1]


def _varint(value):
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def to_bytes(array):
    """A NumPy array as a serialised `TensorProto`, its values in the field of its type, as TensorFlow Serving does it.

    Args:
        array: numbers, or `bytes` objects, of any shape.
    """
    array = np.asarray(array)
    if array.dtype.kind in "SU":
        array = np.char.encode(array).astype(object) if array.dtype.kind == "U" else array.astype(object)
    if array.dtype.name not in _KINDS:
        raise ValueError(f"tensors: expected one of {', '.join(_KINDS)}. Received: dtype={array.dtype.name}.")
    number, _, field = _KINDS[array.dtype.name]
    proto = messages_pb2.Tensor(dtype=number)
    proto.tensor_shape.SetInParent()  # a scalar has a shape, of no dimensions
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype.name in _RAW:
        raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        return proto.SerializeToString() + _varint(_RAW[array.dtype.name] << 3 | 2) + _varint(len(raw)) + raw
    values = array.view(np.uint16) if field == "half_val" else array
    getattr(proto, field).extend(values.ravel().tolist())
    return proto.SerializeToString()


def parsed(data, name):
    """A serialised `TensorProto` as a message; `ServingError` where it is none."""
    try:
        return messages_pb2.Tensor.FromString(data)
    except Exception as error:  # protobuf raises different ones, by its implementation
        raise status.ServingError("INVALID_ARGUMENT", f"Input {name} is not a TensorProto: {error}") from error


def shape_of(proto):
    """The shape of a `TensorProto`, as a tuple."""
    return tuple(dim.size for dim in proto.tensor_shape.dim)


def dtype_of(proto):
    """The NumPy type of a `TensorProto`, or None where NumPy has none."""
    return _BY_NUMBER.get(proto.dtype)


def to_array(proto, name="tensor"):
    """A `TensorProto` as a NumPy array; as TensorFlow has it, the last value stands for all that are missing.

    Args:
        proto: the message.
        name: of the tensor, for errors.

    Raises:
        ServingError: values and shape disagree. The memory that the shape asks for is the caller's to judge.
    """
    dtype, shape = dtype_of(proto), shape_of(proto)
    if dtype is None or any(size < 0 for size in shape) or proto.tensor_shape.unknown_rank:
        raise status.ServingError(
            "INVALID_ARGUMENT", f"Input {name} has an unsupported type or shape: dtype={proto.dtype}, shape={shape}"
        )
    count = math.prod(shape)
    if proto.tensor_content and dtype.name != "object":
        if len(proto.tensor_content) != count * dtype.itemsize:
            raise status.ServingError(
                "INVALID_ARGUMENT",
                f"Input {name}: tensor_content has {len(proto.tensor_content)} bytes, its shape {shape} asks for "
                f"{count * dtype.itemsize}",
            )
        return np.frombuffer(proto.tensor_content, dtype.newbyteorder("<")).reshape(shape).astype(dtype, copy=False)
    field = getattr(proto, _KINDS[dtype.name][2])
    if len(field) > count or (count and not field):
        raise status.ServingError(
            "INVALID_ARGUMENT", f"Input {name} has {len(field)} values, its shape {shape} asks for {count}"
        )
    if dtype.name == "object":
        array = np.empty(count, object)
        array[: len(field)] = field
    elif dtype.name == "float16":
        array = np.resize(np.array(field, np.uint16).view(np.float16), count)
    else:
        array = np.empty(count, dtype)
        array[: len(field)] = np.array(field).astype(dtype)
    array[len(field) :] = array[len(field) - 1 : len(field)]
    return array.reshape(shape)
