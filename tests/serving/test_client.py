import http.server
import io
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image
from reference import running, toy_models

from zoo.serving import client, status

WAYS = pytest.mark.parametrize("scheme", ["http", "grpc"])
WITHOUT_TENSORFLOW = """
import sys
import numpy
from zoo.serving import client
for address in sys.argv[1:]:
    with client.Client(address, "encoder") as encoder:
        encoder.wait(30)
        features = encoder(numpy.zeros((3, 8, 8, 3), numpy.uint8))
        assert features.shape == (3, 8) and features.dtype == numpy.float32
for name in ("tensorflow", "keras", "jax", "starlette", "uvicorn", "PIL"):
    assert name not in sys.modules, name
print("without TensorFlow")
"""


def address(made, scheme):
    return f"{scheme}://127.0.0.1:{made.ports['rest' if scheme == 'http' else 'grpc']}"


@pytest.fixture(params=["http", "grpc"])
def encoder(request, served):
    with client.Client(address(served, request.param), "encoder", batch_size=5, parallel=3) as made:
        yield made


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (23, *toy_models.IMAGE_SHAPE), dtype=np.uint8)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_whole_pixels_are_floats(encoder, images):
    floats = encoder(images / 255)
    assert (floats.shape, floats.dtype) == ((23, toy_models.FEATURES), np.float32)
    np.testing.assert_allclose(encoder(images), floats, atol=1e-6)
    np.testing.assert_allclose(encoder(np.float32(images) / 255), floats, atol=1e-6)
    assert np.ptp(floats) > 0.1


def test_many_images_are_several_requests_in_order(encoder, images):
    together = encoder(images)
    one_by_one = np.concatenate([encoder(images[i : i + 1]) for i in range(len(images))])
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)


def test_paths_and_bytes(encoder, images, tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(7)]
    for path, pixels in zip(paths, images, strict=False):
        path.write_bytes(png(pixels))
    expected = encoder(images[:7])
    np.testing.assert_allclose(encoder(paths), expected, atol=1e-5)
    np.testing.assert_allclose(encoder([str(path) for path in paths]), expected, atol=1e-5)
    np.testing.assert_allclose(encoder([path.read_bytes() for path in paths]), expected, atol=1e-5)


def test_maps(encoder, images):
    found = encoder.features(images)
    assert {"embedding", "P1"} <= set(found)
    assert all(len(array) == 23 for array in found.values())
    np.testing.assert_allclose(found["embedding"], encoder(images), atol=1e-5)


@WAYS
def test_versions_and_labels(served, scheme):
    def answer(**options):
        with client.Client(address(served, scheme), "half", **options) as asked:
            (array,) = asked.predict("serving_default", {"x": np.ones(1, np.float32)}).values()
            return array.tolist()

    assert answer() == answer(version=2) == answer(label="canary") == [3.5]
    assert answer(version=1) == answer(label="stable") == [2.5]


@WAYS
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"model": "encodr"}, "NOT_FOUND", "name='encodr'. Did you mean 'encoder'?"),
        (
            {"model": "encoder", "version": 9},
            "NOT_FOUND",
            "expected a version among 7. Received: version=9",
        ),
        ({"model": "encoder", "label": "x/y"}, "INVALID_ARGUMENT", "label='x/y'"),
        ({"model": "a/../b:c"}, "NOT_FOUND", "name='a/../b:c'"),
    ],
    ids=range(4),
)
def test_what_the_server_refuses_is_raised(served, scheme, images, options, code, words):
    with client.Client(address(served, scheme), **options) as asked, pytest.raises(status.ServingError) as caught:
        asked(images)
    assert caught.value.code == code
    assert words in caught.value.message


def test_images_that_the_model_refuses(encoder, images):
    for bad in (images.astype(np.float32), np.full(images.shape, np.nan), images[:, :4]):
        with pytest.raises(status.ServingError) as caught:
            encoder(bad)
        assert caught.value.code == "INVALID_ARGUMENT"
    with pytest.raises(status.ServingError, match="Image 1: expected a JPEG"):
        encoder([png(images[0]), b"no image"])


@pytest.mark.parametrize("images", ["a.png", b"data", np.zeros((8, 8, 3)), np.zeros((0, 8, 8, 3)), []], ids=range(5))
def test_what_is_no_list_of_images_is_an_error_at_once(encoder, images):
    with pytest.raises(ValueError, match="^Client: expected "):
        encoder(images)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"address": "localhost:8501"}, "expected an address such as http://host:8501"),
        ({"address": "ftp://localhost"}, "expected an address"),
        ({"address": "http://"}, "expected an address"),
        ({"version": 1, "label": "stable"}, "expected a `version` or a `label`"),
        ({"batch_size": 0}, "`batch_size` to be a positive integer"),
        ({"parallel": 1.5}, "`parallel` to be a positive integer"),
        ({"retries": -1}, "`retries` to be a non-negative integer"),
    ],
    ids=range(7),
)
def test_arguments_that_do_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        client.Client(**{"address": "http://localhost:8501", "model": "m", **options})


class Busy(http.server.BaseHTTPRequestHandler):
    """Answers with what `left` has, one after another, then with features."""

    left, seen = [], []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(self.path)
        code, answer = self.left.pop(0) if self.left else (200, {"outputs": [[1.0]] * len(body["inputs"]["images"])})
        data = json.dumps(answer).encode() if isinstance(answer, dict) else answer
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def busy(monkeypatch):
    """A server that answers as told, and a client of it whose pauses cost no time."""
    pauses = []
    monkeypatch.setattr(client.time, "sleep", pauses.append)
    monkeypatch.setattr(Busy, "left", [])
    monkeypatch.setattr(Busy, "seen", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with client.Client(f"http://127.0.0.1:{made.server_port}/", "m", label="new", retries=3) as asked:
            asked.pauses = pauses
            yield asked
        made.shutdown()
        thread.join()


ONE = np.zeros((1, 1, 1, 1), np.uint8)


def test_a_busy_server_is_asked_again(busy):
    Busy.left[:] = [(503, {"error": "full"}), (503, {"error": "later"}), (503, b"<html>")]
    assert busy(ONE).tolist() == [[1.0]]
    assert Busy.seen == ["/v1/models/m/labels/new:predict"] * 4
    assert len(busy.pauses) == 3
    assert busy.pauses == sorted(busy.pauses)


def test_a_server_that_stays_busy_is_given_up(busy):
    Busy.left[:] = [(503, {"error": "full"})] * 9
    with pytest.raises(status.ServingError, match="full") as caught:
        busy(ONE)
    assert (caught.value.code, caught.value.http) == ("UNAVAILABLE", 503)
    assert len(Busy.seen) == 4


@pytest.mark.parametrize(
    ("code", "answer", "expected", "words"),
    [
        (400, {"error": "no"}, "INVALID_ARGUMENT", "no"),
        (404, {"error": "no"}, "NOT_FOUND", "no"),
        (413, {"error": "large"}, "INVALID_ARGUMENT", "large"),
        (500, b"<html>", "UNKNOWN", "<html>"),
        (504, {"error": "late"}, "DEADLINE_EXCEEDED", "late"),
        (502, b"", "UNKNOWN", ""),
        (400, b"[1]", "INVALID_ARGUMENT", "[1]"),
    ],
    ids=range(7),
)
def test_other_errors_are_raised_at_once(busy, code, answer, expected, words):
    Busy.left[:] = [(code, answer)]
    with pytest.raises(status.ServingError) as caught:
        busy(ONE)
    assert (caught.value.code, caught.value.http, caught.value.message) == (expected, code, words)
    assert len(Busy.seen) == 1


@WAYS
def test_a_server_that_is_not_there(scheme, monkeypatch):
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    with client.Client(f"{scheme}://127.0.0.1:9", "m", retries=1, timeout=5) as asked:
        with pytest.raises(status.ServingError) as caught:
            asked(ONE)
        assert caught.value.code == "UNAVAILABLE"
        with pytest.raises(TimeoutError, match="expected an available version within 0 s"):
            asked.wait(0)


def test_neither_tensorflow_nor_keras_is_needed(served):
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, address(served, "http"), address(served, "grpc")]
    done = subprocess.run(command, cwd=running.REPOSITORY, env=os.environ, capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "without TensorFlow", done.stderr[-3000:]
