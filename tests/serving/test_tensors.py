import json
import re
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from zoo.serving import json_pieces, json_tensors, limits, messages_pb2, servable, status, tensors, turns

NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
SHAPES = pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (2, 3), (2, 0, 3), (1, 2, 3, 4)], ids=str)


def array(kind, shape):
    rng = np.random.default_rng(0)
    if kind == "bool":
        return rng.random(shape) < 0.5
    if kind == "object":
        values = np.empty(shape, object)
        for index in np.ndindex(*shape):
            values[index] = rng.bytes(5) + b"\0\xff"
        return values
    if kind.startswith("float"):
        return rng.normal(size=shape).astype(kind)
    info = np.iinfo(kind)
    values = rng.integers(info.min, info.max, shape, dtype=kind, endpoint=True)
    values.ravel()[:2] = [info.min, info.max][: values.size]
    return values


def same(ours, theirs):
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@SHAPES
@pytest.mark.parametrize("kind", [*NUMBERS, "bool", "object"])
def test_tensorflow_reads_ours(kind, shape):
    ours = array(kind, shape)
    proto = tensor_pb2.TensorProto.FromString(tensors.to_bytes(ours))
    assert tf.dtypes.as_dtype(proto.dtype).name == ("string" if kind == "object" else kind)
    same(tf.make_ndarray(proto), ours)


@SHAPES
@pytest.mark.parametrize("kind", [*NUMBERS, "bool", "object"])
def test_we_read_tensorflows(kind, shape):
    theirs = array(kind, shape)
    dtype = tf.string if kind == "object" else kind
    proto = tf.make_tensor_proto(theirs, dtype, shape)
    same(tensors.to_array(tensors.parsed(proto.SerializeToString(), "x")), theirs)


@pytest.mark.parametrize("kind", [*NUMBERS, "bool"])
def test_values_one_by_one_are_read(kind):
    """As clients write them that have no NumPy, and as the server writes them."""
    theirs = array(kind, (2, 3))
    proto = tensor_pb2.TensorProto.FromString(tensors.to_bytes(theirs))
    assert not proto.tensor_content
    same(tensors.to_array(messages_pb2.Tensor.FromString(proto.SerializeToString())), theirs)
    raw = messages_pb2.Tensor(dtype=proto.dtype, tensor_content=theirs.tobytes())
    for size in theirs.shape:
        raw.tensor_shape.dim.add(size=size)
    same(tensors.to_array(raw), theirs)


@pytest.mark.parametrize("kind", [*NUMBERS, "bool", "object"])
def test_the_last_value_stands_for_the_rest(kind):
    values = array(kind, (2,))
    proto = messages_pb2.Tensor.FromString(tensors.to_bytes(values))
    proto.tensor_shape.dim[0].size = 5
    read = tensors.to_array(proto)
    theirs = tf.make_ndarray(tensor_pb2.TensorProto.FromString(proto.SerializeToString()))
    same(read, theirs)
    assert read[4] == values[1]


def test_special_floats_survive():
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38], np.float32)
    read = tensors.to_array(tensors.parsed(tensors.to_bytes(values), "x"))
    np.testing.assert_array_equal(read.view(np.uint32), values.view(np.uint32))


def test_strings_and_orders_of_memory():
    same(
        tensors.to_array(tensors.parsed(tensors.to_bytes(np.array(["é", "b"])), "x")),
        np.array(["é".encode(), b"b"], object),
    )
    columns = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    for values in (columns, columns[:, ::2], columns.astype(">f4"), columns.astype(np.float16).T):
        read = tensors.to_array(tensors.parsed(tensors.to_bytes(values), "x"))
        np.testing.assert_array_equal(read, values)


def test_types_that_have_no_tensor():
    with pytest.raises(ValueError, match="^tensors: expected one of float32, .*Received: dtype=complex64"):
        tensors.to_bytes(np.zeros(2, np.complex64))


# JSON


def signature(kind="float32", shape=(None,), **inputs):
    inputs = inputs or {"x": servable.Spec(np.dtype(kind), shape)}
    return servable.Signature("s", None, inputs, {"y": servable.Spec(np.dtype("float32"), (None,))})


def read(document, *arguments, **inputs):
    arrays, rows = turns.at_once(json_tensors.arrays(document, signature(*arguments, **inputs), limits.Limits()))
    return arrays["x"]


@pytest.mark.parametrize("kind", NUMBERS)
def test_json_numbers_take_the_type_of_the_tensor(kind):
    values = array(kind, (2, 3))
    same(read({"instances": values.tolist()}, kind, (None, 3)), values)
    same(read({"inputs": {"x": values.tolist()}}, kind, (None, 3)), values)


@pytest.mark.parametrize("kind", [each for each in NUMBERS if "int" in each])
def test_json_numbers_out_of_range_are_refused(kind):
    for value in (np.iinfo(kind).min - 1, np.iinfo(kind).max + 1, 1.0, 1.5):
        with pytest.raises(
            status.ServingError,
            match=f"DT_{kind.upper()}.*whole numbers within its range. Received: {value} ",
        ):
            read({"instances": [0, value]}, kind)


@pytest.mark.parametrize(("kind", "most"), [("float16", 2047), ("float32", 2**24 - 1), ("float64", 2**53 - 1)])
def test_whole_numbers_that_floats_do_not_hold_are_refused(kind, most):
    same(read({"instances": [most, -most]}, kind), np.array([most, -most], kind))
    for value in (most + 2, -most - 2, 10**400):
        for values in ([value], [value, 0.5]):
            with pytest.raises(status.ServingError, match="numbers within its range and precision. Received: "):
                read({"instances": values}, kind)


@pytest.mark.parametrize("value", [True, "1", None, {}, [], {"b64": "AA=="}])
def test_among_numbers_only_numbers_are_taken(value):
    for values in ([value], [1.0, value], [value, 2]):
        with pytest.raises(status.ServingError):
            read({"instances": values})


def test_one_long_string_among_many_does_not_fill_the_memory():
    """NumPy gives every string of an array the room of the longest."""
    values = ["a" * 20_000, *["b"] * 2_000]
    tracemalloc.start()
    try:
        with pytest.raises(status.ServingError, match="expected DT_FLOAT .*Received: 'aaa"):
            read({"instances": values})
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "values", [[[1, 2], [3]], [[1, 2], 3], [1, [2]], [[1], [[2]]], [[], [1]], [[[1], [2]], [[3, 4]]]]
)
def test_ragged_lists_are_refused(values):
    for key in ("instances", "inputs"):
        with pytest.raises(status.ServingError) as caught:
            read({key: values}, "float32", None)
        assert caught.value.http == 400


def test_lists_within_one_row_are_not_followed_for_ever():
    deep = 1.0
    for _ in range(900):
        deep = [deep]
    with pytest.raises(status.ServingError, match="expected DT_FLOAT .* at \\[1\\]"):
        read({"instances": [1.0, deep]}, "float32", None)


def test_what_a_message_repeats_is_short():
    with pytest.raises(status.ServingError) as caught:
        read({"instances": [1] * 10**6, "inputs": "x" * 10**6})
    assert len(caught.value.message) < 500


# JSON in pieces

BODIES = {
    "rows": '{"instances": [[[1, 2.5], [3, 4]], [[5, -6], [7e3, 8]], [[9, 0], [1, 2]]]}',
    "column": '{"signature_name": "s,[", "inputs": [[[1, 2]], [[3, 4]], [[5, 6]], [[7, 8]]]}',
    "named": '{"inputs": {"x": [[[1, 2]], [[3, 4]], [[NaN, 6]]]}, "other": {"a": 1, "b": [2, 3]}}',
    "objects": '{"instances": [{"x": [[1], [2]]}, {"x": [[3], [4]]}, {"x": [[5], [6]]}]}',
    "beside": '{"inputs": {"o": {"a": 1}, "p": [0], "x": [[1, 2], [3, 4]]}, "other": {"a": {}, "b": [2, 3]}}',
    "more": '{"inputs": [1, 2, 3], "inputs": {"y": [4, 5, 6], "x": [7, 8]}}',
    "empty": '{"instances": [ ]}',
    "blanks": ' { "instances" :\t[ [ [ 1 , 2 ] ] ,\n[ [ 3 , 4 ] ] ] } ',
    "files": '{"instances": [{"b64": "YWJj"}, {"b64": "ZGVm"}, {"b64": "Z2g="}]}',
    "strings": '{"instances": ["a,b", "[", "]}", "é", ""]}',
}


def outcome(body, spec, bounds):
    """The array of a body, or None where it is refused."""

    def steps():
        document = yield from json_pieces.document(body, bounds)
        return (yield from json_tensors.arrays(document, signature(x=spec), bounds))

    try:
        arrays, rows = turns.at_once(steps())
    except status.ServingError as error:
        return error.code
    return arrays["x"], rows


def in_pieces(monkeypatch, part, piece):
    for name, value in (("WHOLE", 0), ("_SLICE", part), ("_PIECE", piece)):
        monkeypatch.setattr(json_pieces, name, value)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_in_pieces_is_read_as_the_whole_is(monkeypatch, name):
    """Also where a byte is missing, twice, or another."""
    spec = servable.Spec(np.dtype(object if name in ("files", "strings") else "float32"), None)
    text = BODIES[name].encode()
    bodies = [text, b"", text * 2]
    for at in range(len(text)):
        bodies += [text[:at], text[:at] + text[at + 1 :], text[: at + 1] + text[at:]]
        bodies += [text[:at] + bytes([mark]) + text[at + 1 :] for mark in b'[]{},":1 \\']
    for free in ((None,), (None, 1, 2)):  # joined by rows, or not
        shaped = servable.Spec(spec.dtype, free) if free[1:] else spec
        wholes = [outcome(body, shaped, limits.Limits()) for body in bodies]
        assert any(isinstance(whole, tuple) for whole in wholes) or name not in ("column", "blanks", "named")
        for part, piece in ((7, 3), (1 << 20, 4)):
            with monkeypatch.context() as patch:
                in_pieces(patch, part, piece)
                for body, whole in zip(bodies, wholes, strict=True):
                    read = outcome(body, shaped, limits.Limits())
                    if isinstance(whole, str):
                        assert read == whole, body
                    else:
                        np.testing.assert_array_equal(read[0], whole[0], str(body))
                        assert (read[0].dtype, read[1]) == (whole[0].dtype, whole[1])


@pytest.mark.parametrize("blanks", [0, json_pieces.WHOLE])
@pytest.mark.parametrize(
    "body", [b'{"instances": [NaN], "\xed\xa0\x80": 1', b'\xef\xbb\xbf{"instances": [NaN]'], ids=["surrogate", "mark"]
)
def test_other_encodings_are_refused_beside_special_numbers(body, blanks):
    spec = servable.Spec(np.dtype("float32"), (None,))
    assert outcome(body + b" " * blanks + b"}", spec, limits.Limits()) == "INVALID_ARGUMENT"


@pytest.mark.parametrize("key", ["signature_name", "inputs"])
def test_lists_in_the_wrong_place_are_refused_without_writing_them_out(monkeypatch, key):
    in_pieces(monkeypatch, 1 << 20, 10)
    scalars = servable.Spec(np.dtype("float32"), (None,))
    body = json.dumps({"inputs": {"x": 1, "y": 2}, key: list(range(100))}).encode()

    def steps():
        document = yield from json_pieces.document(body, limits.Limits())
        name = json_tensors.signature_name(document)
        yield from json_tensors.arrays(document, signature(x=scalars, y=scalars), limits.Limits())
        return name

    with pytest.raises(status.ServingError, match="Received: a list of 100 values"):
        turns.at_once(steps())


@pytest.mark.parametrize("row", ["[]", "{}", "0", "[0]", "[[[0]]]", '""', "[[],[]]", "[" + "[]," * 999 + "[]]"])
@pytest.mark.parametrize(
    "before", ['{"instances": [', '{"inputs": [', '{"inputs": {"x": [', '{"a": {"b": {"c": [', "["]
)
def test_many_values_are_refused_before_they_are_parsed(monkeypatch, before, row):
    ends = {"[": "]", "{": "}"}
    after = "".join(ends[mark] for mark in reversed(before) if mark in ends)
    body = f"{before}{','.join([row] * (3_000_000 // (len(row) + 1)))}{after}".encode()
    assert len(body) > 2_500_000
    parse, parsed = json_pieces.parsed, []
    monkeypatch.setattr(json_pieces, "parsed", lambda text: parsed.append(len(text)) or parse(text))
    assert outcome(body, servable.Spec(np.dtype("float32"), (None, 8, 8, 3)), limits.Limits()) == "INVALID_ARGUMENT"
    assert sum(parsed) < 1_000_000


@pytest.mark.parametrize("shape", [(1, 384, 384, 3), (64, 28, 28, 1), (700, 3), (1000,)], ids=str)
def test_large_bodies_of_numbers_are_read(shape):
    values = array("float32", shape)
    for before, after in (('{"instances":', "}"), ('{"inputs":{"x":', "}}")):
        body = (before + json.dumps(values.tolist()) + " " * (1 << 16) + after).encode()
        read, _ = outcome(body, servable.Spec(np.dtype("float32"), (None, *shape[1:])), limits.Limits())
        np.testing.assert_array_equal(read, values)


def test_the_place_of_a_wrong_value_is_that_in_the_request(monkeypatch):
    in_pieces(monkeypatch, 64, 4)
    rows = [[0.5, 0.5] for _ in range(20)]
    for wrong, words in (("a", "Received: 'a' at [13, 1]"), ([1], "Received: [1] at [13, 1]")):
        rows[13][1] = wrong
        with pytest.raises(status.ServingError, match=re.escape(words)):
            turns.at_once(_arrays_of({"instances": rows}))


def _arrays_of(document):
    found = yield from json_pieces.document(json.dumps(document).encode(), limits.Limits())
    return (yield from json_tensors.arrays(found, signature(shape=(None, 2)), limits.Limits()))


@pytest.mark.parametrize("shape", [(10_000, 3), (3, 5, 7), (2, 0, 3), (1, 100_000)], ids=str)
@pytest.mark.parametrize("special", [0.5, np.nan])
def test_answers_in_parts_are_as_the_whole(monkeypatch, shape, special):
    outputs = {"a": np.full(shape, special, np.float32), "b": np.arange(shape[0])}
    for named in (outputs, {"a": outputs["a"]}):
        for rows in (True, False):
            with monkeypatch.context() as patch:
                patch.setattr(json_tensors, "_ANSWER", 1 << 40)
                whole = json_tensors.dumps(named, rows)
            with monkeypatch.context() as patch:
                patch.setattr(json_tensors, "_ANSWER", 1000)
                assert json_tensors.dumps(named, rows) == whole


@pytest.mark.parametrize(
    ("outputs", "rows", "expected"),
    [
        ({"y": np.array([[0.1, 2.0]], np.float32)}, True, b'{"predictions":[[0.1,2.0]]}'),
        ({"y": np.array(0.1, np.float32)}, False, b'{"outputs":0.1}'),
        ({"y": np.array(True)}, False, b'{"outputs":true}'),
        ({"y": np.array(b"a", object)}, False, b'{"outputs":"a"}'),
        ({"y_bytes": np.array([b"\xff"], object)}, True, b'{"predictions":[{"b64":"/w=="}]}'),
        ({"a": np.array([1], np.int64), "b": np.array([True])}, True, b'{"predictions":[{"a":1,"b":true}]}'),
        ({"a": np.array([[1]]), "b": np.array(2)}, False, b'{"outputs":{"a":[[1]],"b":2}}'),
        ({"y": np.zeros((0, 3), np.float32)}, True, b'{"predictions":[]}'),
        ({"y": np.array([2**64 - 1], np.uint64)}, False, b'{"outputs":[18446744073709551615]}'),
    ],
    ids=range(9),
)
def test_json_answers(outputs, rows, expected):
    assert json_tensors.dumps(outputs, rows) == expected


def test_json_answers_that_are_not_finite():
    outputs = {"a": np.array([[np.nan, np.inf], [-np.inf, 0.1]], np.float32), "b": np.array([np.nan, 0.2])}
    assert json_tensors.dumps(outputs, False) == b'{"outputs":{"a":[[NaN,Infinity],[-Infinity,0.1]],"b":[NaN,0.2]}}'
    rows = b'{"predictions":[{"a":[NaN,Infinity],"b":NaN},{"a":[-Infinity,0.1],"b":0.2}]}'
    assert json_tensors.dumps(outputs, True) == rows


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"y": np.array(1.0)}, "outputs do not share their rows. Received: shapes={'y': \\(\\)}"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "outputs do not share their rows. Received: shapes="),
    ],
    ids=range(2),
)
def test_answers_that_have_no_rows(outputs, words):
    with pytest.raises(status.ServingError, match=words):
        json_tensors.dumps(outputs, True)
