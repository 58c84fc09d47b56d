"""A client of `zoo-serve` and of TensorFlow Serving: images in, features out.

    from zoo.serving import client

    with client.Client("http://localhost:8501", "simclr_convnet_fashion_mnist.e15") as encoder:
        encoder(images)                      # floats [B, H, W, C] in [0, 1], or uint8 -> features [B, F]
        encoder(["a.jpg", "b.png"])          # image files of any size, as paths or bytes
        encoder.features(images)             # {"embedding": [B, F], "P2": [B, h, w, C], ...}

It needs NumPy, orjson, protobuf, and `requests` or `grpcio`, but neither TensorFlow nor Keras.
"""

import base64
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from zoo import checks
from zoo.serving import messages_pb2, status, tensors

Arrays = Mapping[str, np.ndarray]


class Client:
    """Computes features by a served model.

    Args:
        address: `"http://host:8501"` for REST, `"grpc://host:8500"` for gRPC; `https` and `grpcs` with encryption.
        model: name of the model.
        version: number of a version; the newest by default.
        label: label of a version, instead of its number.
        batch_size: images of a request.
        parallel: concurrent requests.
        retries: further attempts where the server is busy or cannot be reached, with growing pauses.
        timeout: seconds for an attempt.
        token: of a server that asks for one.
        certificate: PEM file of the certificates to trust; those of the system by default.
    """

    def __init__(
        self,
        address: str,
        model: str,
        version: int | None = None,
        label: str | None = None,
        batch_size: int = 32,
        parallel: int = 2,
        retries: int = 4,
        timeout: float = 60.0,
        token: str | None = None,
        certificate: str | os.PathLike | None = None,
    ):
        is_single = version is None or label is None
        checks.require(is_single, "Client", "a `version` or a `label`", version=version, label=label)
        checks.integers("Client", batch_size=batch_size, parallel=parallel)
        checks.integers("Client", 0, retries=retries)
        scheme, _, place = address.partition("://")
        is_address = scheme in ("http", "https", "grpc", "grpcs") and place != ""
        checks.require(is_address, "Client", "an address such as http://host:8501 or grpc://host:8500", address=address)
        self.batch_size, self.retries = batch_size, retries
        headers = {"authorization": f"Bearer {token}"} if token else {}
        target = _Target(address, model, version, label, timeout, headers, certificate)
        self._transport: _Rest | _Grpc = _Grpc(target) if scheme.startswith("grpc") else _Rest(target)
        self._pool = concurrent.futures.ThreadPoolExecutor(parallel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._pool.shutdown()
        self._transport.close()

    def __call__(self, images: np.ndarray | Sequence[str | os.PathLike | bytes]) -> np.ndarray:
        """Returns the features of images, float32 `[B, F]`; ServingError where the server refuses the request.

        Args:
            images: `[B, H, W, C]`, floats in [0, 1] or uint8, in the model's size; or image files of any size, as
                paths or bytes.
        """
        is_list = not isinstance(images, str | os.PathLike | bytes)
        checks.require(is_list, "Client", "a list of images, even of one", type=type(images).__name__)
        if isinstance(images, np.ndarray) and images.dtype.kind in "fiu":
            return self.predict("serving_default", {"images": _floats(images)})["embedding"]
        files = [image if isinstance(image, bytes) else pathlib.Path(image).read_bytes() for image in images]
        return self.predict("encode_bytes", {"image_bytes": tensors.strings(files)})["embedding"]

    def features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns `embedding` and the maps `P2`, `P3`, ... of images `[B, H, W, C]`."""
        return self.predict("features", {"images": _floats(np.asarray(images))})

    def predict(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Calls any signature: arrays `[B, ...]` by name -> arrays `[B, ...]` by name, float32 over REST."""
        sizes = {len(array) for array in inputs.values()}
        checks.require(len(sizes) == 1 and sizes != {0}, "Client", "inputs of equally many rows", rows=sorted(sizes))
        starts = range(0, sizes.pop(), self.batch_size)
        parts = [{name: array[i : i + self.batch_size] for name, array in inputs.items()} for i in starts]
        answers = list(self._pool.map(lambda part: self._attempt(signature, part), parts))
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def wait(self, seconds: float = 60.0) -> dict[int, str]:
        """Waits until a version is available, and returns the states of all by number; TimeoutError if none is."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                found: Any = self._transport.states()
                if "AVAILABLE" in found.values():
                    return found
            except status.ServingError as error:
                found = error
            if time.monotonic() >= deadline:
                raise TimeoutError(f"Client: expected an available version within {seconds:g} s. Received: {found}.")
            time.sleep(0.1)

    def _attempt(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        for attempt in range(self.retries):
            try:
                return self._transport.predict(signature, inputs)
            except status.ServingError as error:
                if error.code != "UNAVAILABLE":
                    raise
            time.sleep(random.uniform(0.08, 0.12) * 2**attempt)  # not all clients at the same moment
        return self._transport.predict(signature, inputs)


def _floats(images: np.ndarray) -> np.ndarray:
    """Returns pixels in [0, 1] as float32, `[B, H, W, C]`."""
    checks.require(images.ndim == 4, "Client", "images [B, H, W, C]", shape=images.shape)
    return images.astype(np.float32) / 255 if images.dtype == np.uint8 else images.astype(np.float32, copy=False)


@dataclasses.dataclass(frozen=True)
class _Target:
    """The served model that a client asks; see `Client`."""

    address: str
    model: str
    version: int | None
    label: str | None
    timeout: float
    headers: dict[str, str]
    certificate: str | os.PathLike | None


class _Rest:
    """Requests as JSON."""

    def __init__(self, target: _Target):
        import requests

        self._errors, self._quote = requests.exceptions, requests.utils.quote
        self._session, self._timeout = requests.Session(), target.timeout
        self._session.headers.update(target.headers)
        # Of the session it would yield to REQUESTS_CA_BUNDLE.
        self._verify = os.fspath(target.certificate) if target.certificate else True
        part = ""
        if target.version is not None:
            part = f"/versions/{target.version}"
        elif target.label:
            part = f"/labels/{self._quote(target.label, safe='')}"
        self._url = f"{target.address.rstrip('/')}/v1/models/{self._quote(target.model, safe='')}{part}"

    def close(self) -> None:
        self._session.close()

    def _answer(self, method: str, url: str, **arguments: Any) -> Any:
        try:
            response = self._session.request(method, url, timeout=self._timeout, verify=self._verify, **arguments)
        except self._errors.RequestException as error:
            code = "DEADLINE_EXCEEDED" if isinstance(error, self._errors.Timeout) else "UNAVAILABLE"
            raise status.ServingError(code, f"Client: expected an answer from {url}. Received: {error}.") from error
        if response.status_code != 200:
            codes = {http: code for code, http in reversed(status.HTTP.items())}
            code = codes.get(response.status_code, "INVALID_ARGUMENT" if response.status_code < 500 else "UNKNOWN")
            try:
                message = response.json()["error"]
            except (ValueError, KeyError, TypeError):
                message = response.text[:500]
            raise status.ServingError(code, message, response.status_code)
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError:  # NaN and Infinity
            return json.loads(response.content)

    def states(self) -> dict[int, str]:
        versions = self._answer("GET", self._url)["model_version_status"]
        return {int(version["version"]): version["state"] for version in versions}

    def predict(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        document = {"signature_name": signature, "inputs": {name: _as_json(array) for name, array in inputs.items()}}
        if all(np.isfinite(array).all() for array in inputs.values() if array.dtype.kind == "f"):
            body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        else:
            body = json.dumps(document, default=lambda array: array.tolist()).encode()
        headers = {"Content-Type": "application/json"}
        outputs = self._answer("POST", f"{self._url}:predict", data=body, headers=headers)["outputs"]
        # A single output comes without its name, which is that of an encoder's.
        outputs = outputs if isinstance(outputs, dict) else {"embedding": outputs}
        return {name: np.asarray(value, np.float32) for name, value in outputs.items()}


def _as_json(array: np.ndarray) -> Any:
    if array.dtype == object:
        return [{"b64": base64.b64encode(data).decode()} for data in array]
    return np.ascontiguousarray(array)


class _Grpc:
    """Requests as protocol buffers."""

    def __init__(self, target: _Target):
        import grpc

        self._error, self._timeout = grpc.RpcError, target.timeout
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        scheme, _, place = target.address.partition("://")
        self._headers = tuple(target.headers.items())
        if scheme == "grpc":
            self._channel = grpc.insecure_channel(place, options)
        else:
            trusted = pathlib.Path(target.certificate).read_bytes() if target.certificate else None
            self._channel = grpc.secure_channel(place, grpc.ssl_channel_credentials(trusted), options)
        self._spec = messages_pb2.ModelSpec(name=target.model, version_label=target.label or "")
        if target.version is not None:
            self._spec.version.value = target.version

    def close(self) -> None:
        self._channel.close()

    def _call(self, method: str, request: Any, answer: Any) -> Any:
        call = self._channel.unary_unary(
            f"/tensorflow.serving.{method}", type(request).SerializeToString, answer.FromString
        )
        try:
            return call(request, timeout=self._timeout, metadata=self._headers)
        except self._error as error:
            raise status.ServingError(error.code().name, error.details()) from error

    def states(self) -> dict[int, str]:
        request = messages_pb2.GetModelStatusRequest(model_spec=self._spec)
        answer = self._call("ModelService/GetModelStatus", request, messages_pb2.GetModelStatusResponse)
        name = messages_pb2.ModelVersionStatus.State.Name
        return {entry.version: name(entry.state) for entry in answer.model_version_status}

    def predict(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        request = messages_pb2.PredictRequest(
            model_spec=self._spec, inputs={name: tensors.to_bytes(array) for name, array in inputs.items()}
        )
        request.model_spec.signature_name = signature
        answer = self._call("PredictionService/Predict", request, messages_pb2.PredictResponse)
        return {name: tensors.to_array(tensors.parsed(data, name)) for name, data in answer.outputs.items()}
