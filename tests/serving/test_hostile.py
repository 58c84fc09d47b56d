"""Requests that mean harm or are broken: each gets its status and words, and the next good one is answered."""

import base64
import contextlib
import gzip
import io
import json
import math
import signal
import socket
import struct
import threading
import time
import zlib

import grpc
import numpy as np
import pytest
import requests
from PIL import Image
from reference import running, toy_models

from zoo.serving import batching, json_pieces, limits, messages_pb2, predictor, repository, tensors

HEAD = "POST /v1/models/half:predict HTTP/1.1\r\nHost: a\r\n"
GOOD = {"instances": [1.0]}
ANSWER = (200, {"predictions": [3.5]})
BOUNDS = limits.Limits(
    body_bytes=1 << 20,
    rows=100,
    pixels=1_000_000,
    request_pixels=3_000_000,
    tensor_bytes=1 << 20,
    read_seconds=3.0,
    header_seconds=3.0,
)


@pytest.fixture(scope="module")
def server(deployed):
    with running.running(repository.named(deployed), grpc_port=0, bounds=BOUNDS) as made:
        yield made


@pytest.fixture(autouse=True)
def _the_next_good_request_is_answered(request):
    yield
    if "server" in request.fixturenames:
        assert running.predict(request.getfixturevalue("server"), "half", GOOD) == ANSWER


def refused(answer, code, words):
    assert answer[0] == code, answer
    assert set(answer[1]) == {"error"}
    assert words in answer[1]["error"]


def read(connection):
    """Status and document of the answer that comes, until the connection ends."""
    connection.settimeout(30)
    data = b""
    # The rest of what was sent may be refused by then.
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return (int(head.split()[1]), json.loads(body)) if head else None


def connect(server):
    ports = server if isinstance(server, dict) else server.ports
    return socket.create_connection(("127.0.0.1", ports["rest"]), timeout=30)


# Bodies


def test_a_gigabyte_is_refused_before_it_comes(server):
    with connect(server) as connection:
        connection.sendall(f"{HEAD}Content-Length: {1 << 30}\r\n\r\n".encode() + b" " * 1000)
        refused(read(connection), 413, "a body of at most 1048576 bytes. Received: 1073741824")


def test_a_body_without_end_is_refused(server):
    chunk = b"%x\r\n%s\r\n" % (1 << 16, b" " * (1 << 16))
    with connect(server) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode() + 20 * chunk)
        refused(read(connection), 413, "expected a body of at most 1048576 bytes")


def test_what_unpacks_to_too_much_is_refused(server):
    bomb = gzip.compress(b'{"instances": [' + b" " * (20 << 20))
    assert len(bomb) < 1 << 20
    answer = requests.post(running.url(server, "/v1/models/half:predict"), bomb, headers={"Content-Encoding": "gzip"})
    refused((answer.status_code, answer.json()), 413, "expected a body of at most 1048576 bytes")


@pytest.mark.parametrize(
    ("encoding", "body", "code", "words"),
    [
        ("gzip", b"no gzip at all", 400, "expected a gzip body"),
        ("gzip", gzip.compress(json.dumps(GOOD).encode())[:-20], 400, "a gzip body. Received: a part without its end"),
        ("gzip", gzip.compress(json.dumps(GOOD).encode())[:-1], 400, "a gzip body. Received: a part without its end"),
        ("gzip", gzip.compress(json.dumps(GOOD).encode()) + b"x", 400, "a gzip body. Received: more after its end"),
        ("gzip", gzip.compress(b"{") + gzip.compress(b"}"), 400, "a gzip body. Received: more after its end"),
        ("gzip", gzip.compress(b"{}") + b"\0" * (2 << 20), 413, "expected a body of at most 1048576 bytes"),
        ("br", b"...", 415, "the Content-Encoding gzip or none. Received: br"),
    ],
    ids=["none", "cut", "cut trailer", "more", "two", "endless", "other"],
)
def test_other_encodings_are_refused(server, encoding, body, code, words):
    url = running.url(server, "/v1/models/half:predict")
    answer = requests.post(url, body, headers={"Content-Encoding": encoding})
    refused((answer.status_code, answer.json()), code, words)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"instances": ' + b"[" * 100_000 + b"NaN", b'{"a":' * 50_000])
def test_deep_nesting_is_refused(server, body):
    answer = requests.post(running.url(server, "/v1/models/half:predict"), body)
    refused((answer.status_code, answer.json()), 400, "expected a JSON document")


def test_forty_dimensions_are_refused(server):
    document = {"signature_name": "matrix", "instances": json.loads("[" * 40 + "1" + "]" * 40)}
    refused(running.predict(server, "toys", document), 400, "expected at most 32 dimensions")


@pytest.mark.parametrize("instances", ['["\\ud800", NaN]', '["\\ud800"], "a": NaN', '[{"\\ud800": NaN}]'])
def test_halves_of_characters_are_refused(server, instances):
    body = f'{{"signature_name": "words", "instances": {instances}}}'
    answer = requests.post(running.url(server, "/v1/models/toys:predict"), body.encode())
    assert (answer.status_code, set(answer.json())) == (400, {"error"})


@pytest.mark.parametrize("numbers", ["1" * 400, "1" * 5000, "1e999", "NaN, " + "1" * 400, "NaN, " + "1" * 5000])
def test_numbers_beyond_measure_are_refused(server, numbers):
    answer = requests.post(running.url(server, "/v1/models/half:predict"), f'{{"instances": [{numbers}]}}')
    assert (answer.status_code, set(answer.json())) == (400, {"error"})


# Values


def image(side, kind="PNG", value=0):
    file = io.BytesIO()
    Image.new("L", (side, side), value).save(file, kind)
    return file.getvalue()


def claiming(side):
    """A PNG file that claims to have `side` pixels a side."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([claiming(50_000)], "Image 0: expected at most 1000000 pixels"),
        ([claiming(1_001)], "Image 0: expected at most 1000000 pixels. Received: 1002001"),
        ([image(8), image(4_000)], "Image 1: expected at most 1000000 pixels. Received: 16000000"),
        ([image(900)] * 4, "Image 3: expected at most 3000000 pixels in all. Received: 3240000"),
        ([b"no image"], "Image 0: expected a JPEG, PNG, BMP, GIF, WebP or TIFF file. Received: 8 bytes"),
        ([b""], "Image 0: expected a JPEG, PNG, BMP, GIF, WebP or TIFF file. Received: 0 bytes"),
    ],
    ids=["claimed", "claimed little", "real", "together", "text", "empty"],
)
def test_images_that_are_none_or_too_large(server, files, words):
    instances = [{"b64": base64.b64encode(each).decode()} for each in files]
    document = {"signature_name": "encode_bytes", "instances": instances}
    refused(running.predict(server, "encoder", document), 400, words)


def both(server, call, files):
    """Status and words of the answers over REST and gRPC to image files; None for the words of a good one."""
    instances = [{"b64": base64.b64encode(data).decode()} for data in files]
    code, answer = running.predict(server, "encoder", {"signature_name": "encode_bytes", "instances": instances})
    yield code, answer.get("error")
    code, answer = call(asked("encoder", "encode_bytes", image_bytes=tensors.to_bytes(tensors.strings(files))))
    yield code, answer if code != "OK" else None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WebP", "TIFF"])
def test_truncated_files_are_told_from_what_is_no_image(server, call, kind):
    file = io.BytesIO()
    Image.effect_noise((64, 64), 99).convert("RGB").save(file, kind)
    whole = file.getvalue()
    cuts = {5, 12, 20, 30, 60, 100, 400, *(len(whole) * part // 8 for part in range(1, 8)), len(whole) - 30}
    for cut in sorted(cuts):
        for code, words in both(server, call, [image(8), whole[:cut]]):
            assert code in (400, "INVALID_ARGUMENT"), (cut, code)
            assert words.startswith(f"Image 1: expected a whole {kind}"), (cut, words)
            assert "{{" not in words, "the words of a graph"
        for code, words in both(server, call, [image(8), whole[len(whole) // 2 :][:cut]]):
            assert code in (400, "INVALID_ARGUMENT")
            assert words.startswith("Image 1: expected a JPEG, PNG, BMP, GIF, WebP or TIFF file."), (cut, words)


def test_large_animations_are_refused_since_their_decoder_lets_none_pass(served):
    for side, is_refused in ((2000, False), (2001, True)):
        file, frames = io.BytesIO(), [Image.new("RGB", (side, side), color) for color in ("red", "blue")]
        frames[0].save(file, "WebP", save_all=True, append_images=frames[1:], lossless=True, method=0)
        with calling(served) as call:
            for code, words in both(served, call, [file.getvalue()]):
                assert (code in (400, "INVALID_ARGUMENT")) == is_refused, words
                assert not is_refused or "expected an animated WebP of at most 4000000 pixels" in words


@pytest.mark.parametrize("value", [math.nan, math.inf, 255.0])
def test_pixels_out_of_range_are_refused(server, value):
    images = np.zeros((2, *toy_models.IMAGE_SHAPE))
    images[1, 2, 3, 0] = value
    url = running.url(server, "/v1/models/encoder:predict")
    answer = requests.post(url, json.dumps({"instances": images.tolist()}))
    refused((answer.status_code, answer.json()), 400, "expected images in [0, 1]")


@pytest.mark.parametrize(
    ("document", "code", "words"),
    [
        ({"signature_name": "embed", "instances": [[]]}, 400, "'embed'"),
        ({"instances": "half"}, 400, "instances"),
        ({"instances": np.zeros((101, *toy_models.IMAGE_SHAPE)).tolist()}, 400, "at most 100 rows"),
        ({"instances": np.zeros((2, 8, 8, 1)).tolist()}, 400, "expected DT_FLOAT [?,8,8,3]. Received: shape [2,8,8,1]"),
        (
            {"instances": [np.zeros((8, 8, 3)).tolist(), np.zeros((8, 7, 3)).tolist()]},
            400,
            "Input images: expected a list of 8 at [1, 0]",
        ),
        ({"instances": []}, 400, "one or more rows"),
        ({"instances": [[[["0.5"] * 3] * 8] * 8]}, 400, "Input images: expected DT_FLOAT"),
    ],
    ids=range(7),
)
def test_tensors_that_do_not_fit(server, document, code, words):
    refused(running.predict(server, "encoder", document), code, words)


# gRPC


@contextlib.contextmanager
def calling(made):
    """Sends bytes, returns the code and the words of the answer."""
    with grpc.insecure_channel(f"127.0.0.1:{made.ports['grpc']}") as channel:
        method = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

        def answer(data):
            try:
                return "OK", messages_pb2.PredictResponse.FromString(method(data, timeout=60))
            except grpc.RpcError as error:
                return error.code().name, error.details()

        yield answer


@pytest.fixture(scope="module")
def call(server):
    with calling(server) as made:
        yield made


def asked(model, signature="", **inputs):
    request = messages_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, data in inputs.items():
        request.inputs[name] = data
    return request.SerializeToString()


def tensor(*shape, dtype=1, **values):
    proto = messages_pb2.Tensor(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (tensor(1, 10**12, float_val=[1.0]), "INVALID_ARGUMENT", "expected at most 1048576 bytes"),
        (tensor(1, 2**62, 2**62, float_val=[1.0]), "INVALID_ARGUMENT", "Received: shape"),
        (tensor(10**12, 1, float_val=[1.0]), "INVALID_ARGUMENT", "at most 100 rows"),
        (tensor(-1, 1, float_val=[1.0]), "INVALID_ARGUMENT", "shape"),
        (tensor(1, -(10**12), float_val=[1.0]), "INVALID_ARGUMENT", "shape"),
        (tensor(1, 2, float_val=[1.0, 2.0, 3.0]), "INVALID_ARGUMENT", "3 values"),
        (tensor(1, 2), "INVALID_ARGUMENT", "0 values"),
        (tensor(1, 2, tensor_content=b"abc"), "INVALID_ARGUMENT", "3 bytes"),
        (tensor(1, 1, dtype=2, double_val=[1.0]), "INVALID_ARGUMENT", "Received: DT_DOUBLE"),
        (tensor(1, 1, dtype=20), "INVALID_ARGUMENT", "unknown type"),
        (tensor(1, 1, dtype=1 << 30), "INVALID_ARGUMENT", "unknown type"),
        (messages_pb2.Tensor(dtype=1, float_val=[1.0]).SerializeToString(), "INVALID_ARGUMENT", "shape []"),
        (b"\xff\xff\xff", "INVALID_ARGUMENT", "expected a TensorProto"),
        (b"", "INVALID_ARGUMENT", "unknown type"),
    ],
    ids=range(14),
)
def test_tensors_that_lie(call, server, data, code, words):
    answer = call(asked("toys", "matrix", m=data))
    assert answer[0] == code
    assert words in answer[1]


@pytest.mark.parametrize("tag", range(1, 19), ids=lambda tag: f"field {tag}")
@pytest.mark.parametrize("kind", [0, 1, 2, 3, 5], ids=["varint", "long", "sized", "group", "short"])
def test_messages_of_many_fields_are_refused_before_they_are_parsed(call, server, tag, kind):
    """At every level: of the request, of a tensor, of the shape of one."""
    head = tag << 3 | kind
    field = bytes([head]) if head < 128 else bytes([head & 127 | 128, head >> 7])
    many = (field + {0: b"\0", 1: bytes(8), 2: b"\0", 3: b"", 5: bytes(4)}[kind]) * 50_000
    shape = b"\x08\x01\x12" + tensors._varint(len(many)) + many
    for data in (asked("toys", "matrix") + many, asked("toys", "matrix", m=tensor(1, 1, float_val=[1.0]) + many)):
        began = time.perf_counter()
        code, words = call(data)
        assert (code, "000 fields" in words or "without groups" in words) == ("INVALID_ARGUMENT", True)
        assert time.perf_counter() - began < 5
    code, words = call(asked("toys", "matrix", m=shape))
    assert (code, "a shape of at most 4096 bytes" in words) == ("INVALID_ARGUMENT", True), words


def test_a_tensor_of_unknown_rank_is_refused(call, server):
    proto = messages_pb2.Tensor(dtype=1, float_val=[1.0])
    proto.tensor_shape.unknown_rank = True
    assert call(asked("toys", "scalar", s=proto.SerializeToString()))[0] == "INVALID_ARGUMENT"


def test_a_large_message_is_refused(call, server):
    data = tensors.to_bytes(np.zeros((100, 10_000), np.float32))
    assert call(asked("toys", "matrix", m=data))[0] == "RESOURCE_EXHAUSTED"


def test_a_message_that_is_none_is_refused(call, server):
    code, words = call(b"\xff\xff\xff")
    assert code == "INVALID_ARGUMENT"
    assert "PredictRequest" in words


@pytest.mark.parametrize("name", ["x" * 500_000, "€" * 100_000, "../../etc/passwd", "\0", ""])
def test_names_over_grpc(call, server, name):
    code, words = call(asked(name))
    assert code == "NOT_FOUND"
    assert "expected the name of a served model" in words
    code, words = call(asked("half", name or "?"))
    assert code == "FAILED_PRECONDITION"


# Paths


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/models/..%2F..%2Fetc%2Fpasswd", 404),
        ("/v1/models/../../etc/passwd", 400),
        ("/v1/models/%2e%2e", 404),
        ("/v1/models/..", 404),
        ("/v1/models/%00", 404),
        ("/v1/models/half%00", 404),
        ("/v1/models/half%0a", 404),
        ("/v1/models/%ff%fe", 404),
        ("/v1/models/%", 404),
        ("/v1/models/h%C3%A4lfte", 404),
        ("/v1/models/half//versions/1", 400),
        ("//v1/models/half", 404),
        ("/v1/models/half/versions/" + "9" * 5000, 400),
        ("/v1/models/half/versions/-1", 400),
        ("/v1/models/half/versions/%31", 400),
        ("/v1/models/half/labels/" + "x" * 5000, 400),
        ("/v1/models/" + "x" * 50_000, 404),
        ("/etc/passwd", 404),
        ("/", 404),
    ],
    ids=lambda value: str(value)[:40],
)
def test_paths(server, path, code):
    with connect(server) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        status, answer = read(connection)
    assert status == code
    assert set(answer) == {"error"}
    assert len(answer["error"]) < 1000
    assert "root:" not in answer["error"]


def test_heads_without_end_are_refused(server):
    with connect(server) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\nA: " + b"a" * (1 << 20))
        assert connection.recv(100).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("data", [b"\x16\x03\x01 a TLS hello\r\n\r\n", b"\r\n\r\n\r\n", b"GET\r\n\r\n"])
def test_what_is_no_http_is_refused(server, data):
    with connect(server) as connection:
        connection.sendall(data)
        assert connection.recv(1000).partition(b"\r\n")[0] in (b"HTTP/1.1 400 Bad Request", b"")


# Slow and many


def test_a_slow_body_is_refused(server):
    with connect(server) as connection:
        connection.sendall(f"{HEAD}Content-Length: 1000\r\n\r\n".encode())
        stop = threading.Event()

        def dribble():
            while not stop.wait(0.1):
                with contextlib.suppress(OSError):
                    connection.sendall(b" ")

        thread = threading.Thread(target=dribble)
        thread.start()
        refused(read(connection), 408, "expected the body within 3 seconds")
        stop.set()
        thread.join()


def test_a_slow_head_is_closed(server):
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(3)]
        for connection, part in zip(connections, (b"", b"GET /health/live HTT", HEAD.encode()), strict=True):
            connection.sendall(part)
        assert [connection.recv(100) for connection in connections] == [b""] * 3


def test_an_answer_that_is_not_read_is_dropped(deployed):
    numbers = [1 / 3] * 1000
    body = json.dumps({"signature_name": "outer", "inputs": {"p": numbers, "q": numbers}}).encode()
    models = (repository.Model("toys", deployed / "toys"),)
    with running.running(models, bounds=limits.Limits(answer_seconds=4.0)) as made, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", made.ports["rest"]))
        head = HEAD.replace("half", "toys") + f"Content-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        time.sleep(6)
        connection.settimeout(30)
        count = 0
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 16):
                count += len(part)
        assert count < 10_000_000  # of 11 MB


def test_a_client_that_leaves_is_forgotten(server):
    for _ in range(20):
        with connect(server) as connection:
            connection.sendall(f"{HEAD}Content-Length: 1000\r\n\r\n1234".encode())
    with connect(server) as connection:
        connection.sendall(f"{HEAD}Content-Length: {len(json.dumps(GOOD))}\r\n\r\n{json.dumps(GOOD)}".encode())


def test_a_thousand_idle_connections(served):
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(served)) for _ in range(1000)]
        for connection in connections[::2]:
            connection.sendall(HEAD.encode())
        assert running.predict(served, "half", GOOD) == ANSWER
        assert requests.get(running.url(served, "/health/ready"), timeout=60).json() == {"status": "ready"}


ONE = batching.Batching(max_batch_size=1, max_enqueued_batches=1, num_batch_threads=1)


def half(deployed):
    return (repository.Model("half", deployed / "half"),)


def test_a_full_queue_says_so(deployed):
    answers = []
    with running.gated(half(deployed), ONE, grpc_port=0) as (made, gate):
        threads = []
        for rows in (0, 1):
            threads.append(threading.Thread(target=lambda: answers.append(running.predict(made, "half", GOOD))))
            threads[-1].start()
            running.until(lambda rows=rows: gate.calls and running.waiting(made) == rows)
        response = requests.post(running.url(made, "/v1/models/half:predict"), json=GOOD, timeout=60)
        refused((response.status_code, response.json()), 503, "queue")
        assert int(response.headers["Retry-After"]) >= 1
        with calling(made) as call:
            assert call(asked("half", x=tensor(1, float_val=[1.0])))[0] == "UNAVAILABLE"
        gate.open()
        for thread in threads:
            thread.join()
        assert answers == [ANSWER, ANSWER]
        assert running.predict(made, "half", GOOD) == ANSWER


def test_an_answer_that_takes_too_long(deployed):
    with running.gated(half(deployed), ONE, bounds=limits.Limits(answer_seconds=0.3)) as (made, gate):
        refused(running.predict(made, "half", GOOD), 504, "expected an answer within 0.3 seconds")
        gate.open()
        running.until(lambda: running.predict(made, "half", GOOD) == ANSWER)


@pytest.mark.parametrize("api", ["REST", "gRPC"])
def test_the_time_to_answer_begins_before_the_body_is_read(deployed, monkeypatch, api):
    monkeypatch.setattr(predictor, "_LARGE", 0)
    read, convert = json_pieces.document, tensors.to_array

    def slow_document(*arguments):
        time.sleep(1.5)
        return (yield from read(*arguments))

    def slow_array(*arguments):
        time.sleep(1.5)
        return convert(*arguments)

    monkeypatch.setattr(json_pieces, "document", slow_document)
    with running.gated(half(deployed), ONE, grpc_port=0, bounds=limits.Limits(answer_seconds=2)) as (made, gate):
        monkeypatch.setattr(tensors, "to_array", slow_array)
        with calling(made) as call:
            began = time.monotonic()
            if api == "REST":
                code = running.predict(made, "half", GOOD)[0]
            else:
                code = call(asked("half", x=tensor(1, float_val=[1.0])))[0]
            assert code in (504, "DEADLINE_EXCEEDED")
            assert time.monotonic() - began < 3 and gate.calls == [1]


def test_too_much_in_flight_says_so(deployed):
    bounds = limits.Limits(in_flight_bytes=1000)
    with running.running(half(deployed), bounds=bounds, grpc_port=0) as made:
        refused(running.predict(made, "half", {"instances": [1.0] * 300}), 503, "in flight")
        with calling(made) as call:
            # From one value, which stands for all.
            code, words = call(asked("half", x=tensor(300, float_val=[1.0])))
            assert (code, "in flight" in words) == ("UNAVAILABLE", True)
            for _ in range(10):  # none is counted twice
                assert running.predict(made, "half", {"instances": [1.0] * 50})[0] == 200
                assert call(asked("half", x=tensor(200, float_val=[1.0])))[0] == "OK"


def test_images_of_many_pixels_are_not_waited_for(deployed):
    """Whoever sends many pixels waits behind a door of its own; the next ones are refused while it is full."""
    zeros, door, parts = image(1_500), threading.Event(), []
    bounds = limits.Limits(in_flight_pixels=22_500_000)
    with running.running(repository.named(deployed), grpc_port=0, bounds=bounds) as made, calling(made) as call:
        found = made.repository.find("encoder")
        run = found.run

        def heavy(signature, inputs):
            if threading.current_thread().name.startswith("images"):
                parts.append(len(inputs["image_bytes"]))
                assert door.wait(60)
            return run(signature, inputs)

        found.run = heavy
        codes = []

        def ask(api):
            instances = [{"b64": base64.b64encode(zeros).decode()}] * 5
            if api == "REST":
                document = {"signature_name": "encode_bytes", "instances": instances}
                codes.append(running.predict(made, "encoder", document)[0])
            else:
                files = tensors.to_bytes(tensors.strings([zeros] * 5))
                codes.append(call(asked("encoder", "encode_bytes", image_bytes=files))[0])

        threads = [threading.Thread(target=ask, args=(api,)) for api in ("REST", "gRPC")]
        for thread in threads:
            thread.start()
        page = running.url(made, "/monitoring/prometheus/metrics")
        running.until(lambda: "zoo_serving_pixels 2.25e+07\n" in requests.get(page, timeout=60).text)
        for code, words in both(made, call, [zeros] * 5):
            assert code in (503, "UNAVAILABLE")
            assert "expected at most 22500000 pixels of image files in flight" in words
        for code, _ in both(made, call, [image(8)]):
            assert code in (200, "OK")
        assert parts == [1]
        door.set()
        for thread in threads:
            thread.join()
        assert sorted(map(str, codes)) == ["200", "OK"]
        assert parts == [1] * 10  # in turn, 2.25 megapixels each


@pytest.mark.parametrize("api", ["REST", "gRPC", "deadline"])
def test_what_was_given_up_is_not_done(deployed, api):
    body = json.dumps(GOOD).encode()
    with running.gated(half(deployed), ONE, grpc_port=0) as (made, gate):
        with calling(made) as call, contextlib.ExitStack() as stack:
            first = threading.Thread(target=lambda: running.predict(made, "half", GOOD))
            first.start()
            running.until(lambda: gate.calls)
            if api == "REST":
                connection = stack.enter_context(connect(made))
                connection.sendall(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            else:
                channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{made.ports['grpc']}"))
                method = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
                seconds = 60 if api == "gRPC" else 1
                future = method.future(asked("half", x=tensor(1, float_val=[1.0])), timeout=seconds)
            running.until(lambda: running.waiting(made) == 1)
            if api == "REST":
                connection.close()
            elif api == "gRPC":
                future.cancel()
            running.until(lambda: running.waiting(made) == 0)
            gate.open()
            first.join()
            assert call(asked("half", x=tensor(1, float_val=[1.0])))[0] == "OK"
        assert gate.calls == [1, 1]


# Processes


def predicted(made, answers):
    """Asks in a thread until there is no answer; each is added to `answers`."""

    def ask():
        with contextlib.suppress(requests.ConnectionError):
            while True:
                answers.append(running.predict(made, "half", GOOD))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.slow
def test_killed_it_serves_again_and_stopped_it_answers_first(deployed, tmp_path):
    answers = []
    with running.process(f"--model={deployed}", folder=tmp_path) as (made, ports):
        thread = predicted(ports, answers)
        running.until(lambda: len(answers) >= 10)
        made.kill()
        assert made.wait(60) == -signal.SIGKILL
        thread.join()
    flags = ("--batch_timeout_micros=2000000", "--max_batch_size=100")
    with running.process(f"--model={deployed}", *flags, folder=tmp_path) as (made, ports):
        thread = predicted(ports, answers)
        with grpc.insecure_channel(f"127.0.0.1:{ports['grpc']}") as channel, connect(ports) as half_sent:
            method = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            future = method.future(asked("half", x=tensors.to_bytes(np.ones(1, np.float32))), timeout=60)
            half_sent.sendall(f"{HEAD}Expect: 100-continue\r\nContent-Length: 20\r\n\r\n".encode())
            assert b"100 Continue" in half_sent.recv(100)
            running.until(lambda: running.waiting(ports) >= 2)
            before = len(answers)
            made.send_signal(signal.SIGTERM)
            half_sent.sendall(b'{"instances": [1.0]}')
            thread.join()
            assert len(answers) > before
            answer = messages_pb2.PredictResponse.FromString(future.result())
            assert tensors.to_array(tensors.parsed(answer.outputs["y"], "y")).tolist() == [3.5]
            data = b""
            while part := half_sent.recv(1000):
                data += part
            assert data.endswith(b'{"predictions":[3.5]}')
        assert made.wait(60) == 0
        for port in (ports["rest"], ports["grpc"]):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
    assert answers == [ANSWER] * len(answers)
