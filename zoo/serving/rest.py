"""TensorFlow Serving's REST API as an ASGI application, with health and metrics.

Paths, bodies and status codes are those of https://www.tensorflow.org/tfx/serving/api_rest. Errors that it lacks (a
body that is too large or too slow) have the HTTP status of their kind.
"""

import asyncio
import contextlib
import json
import re
import urllib.parse
import zlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from google.protobuf import json_format
from starlette import applications, convertors, exceptions, requests, responses, routing, types
from starlette.middleware import cors

from zoo.serving import (
    access,
    json_pieces,
    json_tensors,
    limits,
    metrics,
    predictor,
    repository,
    servable,
    status,
    turns,
)

T = TypeVar("T")
_LINGER_SECONDS = 2.0  # to go on reading a refused body, so that the client gets to see the error
_SLICE = 1 << 20  # bytes that are unpacked at a time
_HEALTH = ("/health/live", "/health/ready")


class _Name(convertors.Convertor[str]):
    """A percent-encoded part of a path."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return urllib.parse.unquote(value)


class _Version(convertors.Convertor[int]):
    """The number of a version."""

    regex = "[0-9]+"

    def convert(self, value: str) -> int:
        if len(value) > 19 or int(value) >= 2**63:
            raise status.error("REST", "a version below 2**63", value[:50])
        return int(value)


convertors.register_url_convertor("zoo_name", _Name())
convertors.register_url_convertor("zoo_version", _Version())
_MODELS = [
    f"/v1/models/{{name:zoo_name}}{part}"
    for part in ("", "/versions/{version:zoo_version}", "/labels/{label:zoo_name}")
]


class _Route(routing.Route):
    """A route whose fixed parts ignore case, as those of TensorFlow Serving do."""

    def __init__(self, path: str, endpoint: Any, **options: Any):
        super().__init__(path, endpoint, **options)
        self.path_regex: re.Pattern = re.compile(self.path_regex.pattern, re.IGNORECASE)


class _Gate:
    """Answers 401 to requests without the token, but for health checks, before their bodies are read."""

    def __init__(self, app: types.ASGIApp, allowed: access.Access):
        self._app, self._access = app, allowed

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        header = dict(scope["headers"]).get(b"authorization")
        if scope["path"] in _HEALTH or self._access.admits(header):
            await self._app(scope, receive, send)
            return
        error = status.error("REST", "the header Authorization: Bearer TOKEN", "none, or another token")
        headers = {"WWW-Authenticate": "Bearer", "Connection": "close"}
        await _json({"error": error.message}, status.HTTP["UNAUTHENTICATED"], headers)(scope, receive, send)


class App:
    """The application.

    Args:
        predicts: answers the predictions.
        metrics_path: path of the page for Prometheus; None for none.
        allowed: who may ask.
    """

    def __init__(
        self,
        predicts: predictor.Predictor,
        metrics_path: str | None = metrics.PATH,
        allowed: access.Access | None = None,
    ):
        self.predictor = predicts
        self._access = allowed = allowed or access.Access()
        routes = [routing.Route(*route) for route in zip(_HEALTH, (self._live, self._ready), strict=True)]
        routes += [routing.Route(metrics_path, self._metrics)] if metrics_path else []
        for path in _MODELS:
            routes.append(_Route(f"{path}:predict", self._predict, methods=["POST"]))
            routes.append(_Route(f"{path}/metadata", self._metadata))
            routes.append(_Route(path, self._status))
        handlers: dict = {status.ServingError: _refuse, exceptions.HTTPException: _malformed}
        app = applications.Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False
        self._app: types.ASGIApp = _Gate(app, allowed)
        if allowed.origins:
            # Outermost: browsers ask for permission without a token.
            headers = ["Authorization", "Content-Encoding", "Content-Type"]
            options: dict = {"allow_methods": ["GET", "POST"], "allow_headers": headers}
            self._app = cors.CORSMiddleware(self._app, allow_origins=allowed.origins, **options)

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        """Answers an ASGI request."""
        # Routes match the path as it was sent: an encoded slash or colon is part of a name.
        raw = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
        await self._app({**scope, "path": raw}, receive, send)

    async def _live(self, request: requests.Request) -> responses.Response:
        return _json({"status": "live"})

    async def _ready(self, request: requests.Request) -> responses.Response:
        failures = self.predictor.repository.failures()
        found: dict = {"status": "no version to serve" if failures else "ready"}
        if failures and self._access.admits(request.headers.get("authorization")):
            found["models"] = failures  # they name models and folders
        return _json(found, 503 if failures else 200)

    async def _metrics(self, request: requests.Request) -> responses.Response:
        return responses.Response(self.predictor.metrics.page(), media_type="text/plain; version=0.0.4")

    async def _status(self, request: requests.Request) -> responses.Response:
        return _json(status_of(self.predictor.repository.states(**request.path_params)))

    async def _metadata(self, request: requests.Request) -> responses.Response:
        return _json(_metadata_of(self.predictor.repository.find(**request.path_params)))

    async def _predict(self, request: requests.Request) -> responses.Response:
        path = request.scope["path"][:200]
        with contextlib.ExitStack() as held, self.predictor.watch("REST", path=path) as seen:
            body = await self._body(request, held)
            seen["model"] = request.path_params["name"][:200]
            async with self.predictor.deadline():
                written = await _while_connected(request, self._answer(body, request.path_params, seen))
            return responses.Response(written, media_type="application/json")

    async def _answer(self, body: bytes, spec: dict[str, Any], seen: dict[str, Any]) -> bytes:
        """Returns the answer to a body, which is read in turns with the other large ones."""
        found, signature, arrays, rows = await self.predictor.read(self._parsed(body, spec, seen), len(body))
        seen["rows"] = predictor.rows(arrays)
        outputs = await self.predictor.predict(found, signature, arrays)
        if sum(array.nbytes for array in outputs.values()) < json_pieces.WHOLE:
            return json_tensors.dumps(outputs, rows)
        return await asyncio.to_thread(json_tensors.dumps, outputs, rows)

    def _parsed(
        self, body: bytes, spec: dict[str, Any], seen: dict[str, Any]
    ) -> turns.Steps[tuple[servable.Servable, servable.Signature, dict, bool]]:
        """Returns the servable, the signature, the inputs, and whether the answer has rows."""
        document = yield from json_pieces.document(body, self.predictor.limits)
        found = self.predictor.repository.find(**spec)
        signature = found.signature(json_tensors.signature_name(document))
        seen.update(version=found.version, signature=signature.name)
        arrays, rows = yield from json_tensors.arrays(document, signature, self.predictor.limits)
        return found, signature, arrays, rows

    async def _body(self, request: requests.Request, held: contextlib.ExitStack) -> bytes:
        """Returns the body of a request, unpacked; its bytes count as held until `held` is closed."""
        bounds, parts, size = self.predictor.limits, [], 0
        try:
            announced = request.headers.get("content-length", "0")
            _check_size(int(announced[:20]) if announced.isdecimal() else 0, bounds)
            async with asyncio.timeout(bounds.read_seconds):
                async for chunk in _unpacked(request, bounds):
                    size += len(chunk)
                    _check_size(size, bounds)
                    held.enter_context(self.predictor.room.hold(len(chunk)))
                    parts.append(chunk)
            return b"".join(parts)
        except requests.ClientDisconnect as error:
            raise status.error("REST", "a body", "a closed connection", code="CANCELLED") from error
        except (TimeoutError, status.ServingError) as error:
            # The rest of the body is not read: the connection ends after the answer.
            request.state.refused = True
            with contextlib.suppress(TimeoutError, RuntimeError, requests.ClientDisconnect):
                async with asyncio.timeout(_LINGER_SECONDS):
                    async for _ in request.stream():
                        pass
            if isinstance(error, status.ServingError):
                raise
            expected, received = f"the body within {bounds.read_seconds:g} seconds", f"{size} bytes"
            raise status.error("REST", expected, received, code="DEADLINE_EXCEEDED", http=408) from None


async def _while_connected(request: requests.Request, work: Coroutine[Any, Any, T]) -> T:
    """Returns what a coroutine returns; ends it, and raises ServingError, where the client closes the connection."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watch, task = asyncio.ensure_future(gone()), asyncio.ensure_future(work)
    try:
        await asyncio.wait({watch, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise status.error("REST", "a client that waits", "a closed connection", code="CANCELLED")
    finally:
        watch.cancel()
        task.cancel()


def _check_size(size: int, bounds: limits.Limits) -> None:
    if size > bounds.body_bytes:
        hint = " Send fewer images, or image files instead of numbers."
        raise status.error(
            "REST", f"a body of at most {bounds.body_bytes} bytes", size, hint, "RESOURCE_EXHAUSTED", 413
        )


async def _unpacked(request: requests.Request, bounds: limits.Limits) -> AsyncIterator[bytes]:
    """Yields the parts of a body; of gzip a slice at a time: a small part may stand for much, or for nothing at all."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise status.error("REST", "the Content-Encoding gzip or none", encoding[:200], http=415)
    unpack, packed = zlib.decompressobj(31), 0
    async for chunk in request.stream():
        if encoding == "identity":
            yield chunk
            continue
        packed += len(chunk)
        _check_size(packed, bounds)
        try:
            while chunk and not unpack.eof:
                yield unpack.decompress(chunk, _SLICE)
                chunk = unpack.unconsumed_tail
                await asyncio.sleep(0)  # other requests have their turn
        except zlib.error as error:
            raise status.error("REST", "a gzip body", error) from error
        if chunk or unpack.unused_data:
            raise status.error("REST", "a gzip body", "more after its end")
    if encoding == "gzip" and not unpack.eof:
        raise status.error("REST", "a gzip body", "a part without its end")


async def _refuse(request: requests.Request, error: Any) -> responses.Response:
    headers = {"Connection": "close"} if getattr(request.state, "refused", False) else {}
    if error.code == "UNAVAILABLE":
        headers["Retry-After"] = "1"
    return _json({"error": error.message}, error.http, headers)


async def _malformed(request: requests.Request, error: Any) -> responses.Response:
    path = request.scope["path"]
    code = "INVALID_ARGUMENT" if path.lower().startswith("/v1/") else "NOT_FOUND"
    received = f"{request.method} {path[:200]}"
    return await _refuse(request, status.error("REST", "a path and a method of the API", received, code=code))


def _json(value: Any, http: int = 200, headers: dict[str, str] | None = None) -> responses.Response:
    # ASCII: messages may repeat halves of surrogate pairs, which have no UTF-8.
    return responses.Response(json.dumps(value), http, headers, "application/json")


def status_of(states: dict[int, repository.State]) -> dict[str, Any]:
    """Returns the states of versions as the JSON of a `GetModelStatusResponse`."""

    def entry(version: int, state: repository.State) -> dict[str, Any]:
        error = {"error_code": state.code, "error_message": state.message}
        return {"version": str(version), "state": state.state, "status": error}

    return {"model_version_status": [entry(*item) for item in states.items()]}


def _metadata_of(found: servable.Servable) -> dict[str, Any]:
    """Returns the signatures of a servable as the JSON of a `GetModelMetadataResponse`."""
    options: Any = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
    definitions = {name: json_format.MessageToDict(value, **options) for name, value in found.definitions.items()}
    return {
        "model_spec": {"name": found.name, "signature_name": "", "version": str(found.version)},
        "metadata": {"signature_def": {"signature_def": definitions}},
    }
