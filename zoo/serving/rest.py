"""TensorFlow Serving's REST API as an ASGI application: predict, status, metadata; and health, and metrics.

See https://www.tensorflow.org/tfx/serving/api_rest. Paths, bodies and codes are those of TensorFlow Serving; what it
has no words for (a body that is too large or too slow) gets the HTTP status of its kind.
"""

import asyncio
import json
import logging
import re
import urllib.parse
import zlib

from google.protobuf import json_format
from starlette import requests, responses

from zoo.serving import json_tensors, metrics, predictor, status

_PREDICT = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict)", re.IGNORECASE | re.ASCII
)
_STATUS = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?", re.IGNORECASE | re.ASCII
)
_LINGER_SECONDS = 2.0  # that a body which was refused is read on, so that the client gets to see why
_THREADED = 64 << 10  # bytes from which a body is parsed in a thread
_SLICE = 1 << 20  # bytes that are unpacked at a time
_LOG = logging.getLogger("zoo.serving")


class App:
    """The application.

    Args:
        predicts: `predictor.Predictor`.
        metrics_path: where Prometheus finds its page; None for nowhere.
    """

    def __init__(self, predicts, metrics_path=metrics.PATH):
        self.predictor, self._metrics_path = predicts, metrics_path
        # Parsing one large body takes several times its size, and the interpreter: one at a time.
        self._large = asyncio.Semaphore(1)

    async def __call__(self, scope, receive, send):
        """An ASGI request."""
        if scope["type"] != "http":
            raise ValueError(f"App: expected HTTP. Received: {scope['type']}.")
        request = requests.Request(scope, receive)
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
        watch, told, held, code = predictor.Watch(self.predictor, "REST"), {}, 0, "OK"
        predict = _PREDICT.fullmatch(path) if request.method == "POST" else None
        try:
            if predict:
                body, held = await self._body(request)
                response = await self._predict(predict, body, told)
            else:
                response = self._get(request.method, path)
        except status.ServingError as error:
            response, code = _error(error), error.code
            if not told and predict:
                # Of a body that was refused the rest is not read: this connection ends.
                response.headers["Connection"] = "close"
                await _linger(request)
        except requests.ClientDisconnect:
            response, code = responses.Response(status_code=499), "CANCELLED"
        except Exception as error:
            _LOG.exception("failed", extra={"fields": {"path": path[:200]}})
            response, code = _error(status.unexpected(error)), "INTERNAL"
        finally:
            self.predictor.room.give(held)
        if predict:
            fields = {"api": "REST", "path": path[:200], "status": response.status_code, **told}
            _LOG.info("request", extra={"fields": {**fields, "ms": watch.done(told.get("model", ""), code)}})
        await response(scope, receive, send)

    def _get(self, method, path):
        if method in ("GET", "HEAD"):
            if path == "/health/live":
                return responses.JSONResponse({"status": "live"})
            if path == "/health/ready":
                without = self.predictor.repository.failures()
                found = {"status": "no version to serve", "models": without} if without else {"status": "ready"}
                return responses.JSONResponse(found, 503 if without else 200)
            if self._metrics_path and path == self._metrics_path:
                return responses.Response(self.predictor.metrics.page(), media_type="text/plain; version=0.0.4")
        found = _STATUS.fullmatch(path) if method == "GET" else None
        if not found and not path.lower().startswith("/v1/"):
            raise status.ServingError("NOT_FOUND", f"Unknown path: {method} {path[:200]}")
        if not found:
            raise status.ServingError("INVALID_ARGUMENT", f"Malformed request: {method} {path[:200]}")
        name, version, label, metadata = found.groups()
        if not name:
            raise status.ServingError("INVALID_ARGUMENT", "Missing model name in request.")
        spec = _spec(name, version, label)
        if metadata:
            return _json(metadata_of(self.predictor.repository.find(*spec)))
        return _json(status_of(self.predictor.repository.states(*spec)))

    async def _predict(self, found, body, told):
        name, version, label, verb = found.groups()
        spec = _spec(name, version, label)
        told["model"] = spec[0][:200]
        if verb.lower() != "predict":
            method = {"classify": "classification", "regress": "regression"}[verb.lower()]
            self.predictor.repository.find(*spec)
            raise status.ServingError(
                "INVALID_ARGUMENT",
                f"Expected {method} signature method_name to be tensorflow/serving/{verb.lower()}. Was: "
                "tensorflow/serving/predict",
            )
        if len(body) < _THREADED:
            servable, signature, arrays, rows = self._parsed(body, spec, told)
        else:
            async with self._large:
                servable, signature, arrays, rows = await asyncio.to_thread(self._parsed, body, spec, told)
        told["rows"] = predictor.rows(arrays)
        outputs = await self.predictor.predict(servable, signature, arrays)
        large = sum(array.nbytes for array in outputs.values())
        written = (
            json_tensors.dumps(outputs, rows)
            if large < _THREADED
            else await asyncio.to_thread(json_tensors.dumps, outputs, rows)
        )
        return responses.Response(written, media_type="application/json")

    def _parsed(self, body, spec, told):
        """What a body asks of which signature: servable, signature, arrays, and whether the answer is to have rows."""
        document = json_tensors.parse(body)
        servable = self.predictor.repository.find(*spec)
        signature = servable.signature(json_tensors.signature_name(document))
        told.update(version=servable.version, signature=signature.name)
        return servable, signature, *json_tensors.arrays(document, signature, self.predictor.limits)

    async def _body(self, request):
        """The body of a request, unpacked, and how many bytes of it count as held until the answer is out."""
        limits, room, held = self.predictor.limits, self.predictor.room, 0
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced[:20]) > limits.body_bytes:
            raise _too_large(announced[:20], limits)
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise status.ServingError(
                "INVALID_ARGUMENT", f"Content-Encoding: expected gzip or none. Received: {encoding[:200]}", http=415
            )
        chunks = request.stream() if encoding == "identity" else _unpacked(request.stream(), limits)
        body = bytearray()
        try:
            async with asyncio.timeout(limits.read_seconds):
                async for chunk in chunks:
                    if len(body) + len(chunk) > limits.body_bytes:
                        raise _too_large(len(body) + len(chunk), limits)
                    room.take(len(chunk))
                    held += len(chunk)
                    body += chunk
        except BaseException as error:
            room.give(held)
            if isinstance(error, TimeoutError):
                raise status.ServingError(
                    "DEADLINE_EXCEEDED", f"The body did not come within {limits.read_seconds:g} seconds.", http=408
                ) from None
            raise
        return bytes(body), held


async def _unpacked(chunks, limits):
    """The parts of a gzip body, unpacked a slice at a time: a small part may stand for much, or for nothing at all."""
    unpack, packed = zlib.decompressobj(31), 0
    try:
        async for chunk in chunks:
            packed += len(chunk)
            if packed > limits.body_bytes:
                raise _too_large(packed, limits)
            while chunk and not unpack.eof:
                yield unpack.decompress(chunk, _SLICE)
                chunk = unpack.unconsumed_tail
                await asyncio.sleep(0)  # others have their turn
            if chunk or unpack.unused_data:
                raise status.ServingError("INVALID_ARGUMENT", "The body is no gzip: expected nothing after its end.")
    except zlib.error as error:
        raise status.ServingError("INVALID_ARGUMENT", f"The body is no gzip: {error}") from error
    if not unpack.eof:
        raise status.ServingError("INVALID_ARGUMENT", "The body is no gzip: expected its end.")


def _too_large(received, limits):
    return status.ServingError(
        "RESOURCE_EXHAUSTED",
        f"The body of a request: expected at most {limits.body_bytes} bytes. Received: {received}; send fewer images, "
        "or image files instead of numbers.",
        http=413,
    )


async def _linger(request):
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            async for _ in request.stream():
                pass
    except (TimeoutError, RuntimeError, requests.ClientDisconnect):
        pass


def _spec(name, version, label):
    """Name, version and label as they stand in a path."""
    name = urllib.parse.unquote(name)
    if version is not None and (len(version) > 30 or int(version) >= 2**63):
        raise status.ServingError("INVALID_ARGUMENT", f"Failed to convert version: {version[:50]} to numeric.")
    return name, None if version is None else int(version), urllib.parse.unquote(label) if label else None


def _error(error):
    # ASCII: a message may repeat halves of surrogate pairs, which have no UTF-8.
    response = responses.Response(json.dumps({"error": error.message}), error.http, media_type="application/json")
    if error.code == "UNAVAILABLE":
        response.headers["Retry-After"] = "1"
    return response


def _json(value):
    return responses.Response(json.dumps(value, indent=1) + "\n", media_type="application/json")


def status_of(states):
    """`GetModelStatusResponse` as JSON; `states` as `Repository.states` returns them."""
    return {
        "model_version_status": [
            {
                "version": str(version),
                "state": state.state,
                "status": {"error_code": state.code, "error_message": state.message},
            }
            for version, state in states.items()
        ]
    }


def metadata_of(servable):
    """`GetModelMetadataResponse` as JSON: the signatures of a servable."""
    definitions = {
        name: json_format.MessageToDict(
            definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for name, definition in servable.definitions.items()
    }
    return {
        "model_spec": {"name": servable.name, "signature_name": "", "version": str(servable.version)},
        "metadata": {"signature_def": {"signature_def": definitions}},
    }
