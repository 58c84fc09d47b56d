"""A client of a few lines: images in, features out, from `zoo-serve` or the real TensorFlow Serving.

    from zoo.serving import client

    with client.Client("http://localhost:8501", "simclr_convnet_fashion_mnist.e15") as encoder:
        encoder(images)                      # floats [B, H, W, C] in [0, 1], or uint8 -> features [B, F]
        encoder(["a.jpg", "b.png"])          # image files of any size, as paths or bytes
        encoder.features(images)             # {"embedding": [B, F], "P2": [B, h, w, C], ...}

It needs NumPy, orjson, protobuf, and `requests` or `grpcio`; neither TensorFlow nor Keras.
"""

import base64
import concurrent.futures
import json
import os
import pathlib
import random
import time

import numpy as np
import orjson

from zoo.serving import messages_pb2, status, tensors


class Client:
    """Features of a served model.

    Args:
        address: `"http://host:8501"` for REST, `"grpc://host:8500"` for gRPC.
        model: name of the model.
        version: a number; the newest by default.
        label: the label of a version, in place of its number.
        batch_size: images of one request.
        parallel: requests at one time.
        retries: further attempts where the server is busy or cannot be reached, with growing pauses.
        timeout: seconds for one attempt.
    """

    def __init__(self, address, model, version=None, label=None, batch_size=32, parallel=2, retries=4, timeout=60.0):
        if version is not None and label is not None:
            raise ValueError(f"Client: expected a version or a label. Received: version={version}, label={label!r}.")
        counts = {"batch_size": batch_size, "parallel": parallel, "retries": retries + 1}
        for name, count in counts.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"Client: expected `{name}` to be a positive integer. Received: {name}={count!r}.")
        scheme, _, place = address.partition("://")
        kinds = {"http": _Rest, "https": _Rest, "grpc": _Grpc}
        if scheme not in kinds or not place:
            raise ValueError(
                f"Client: expected an address such as http://host:8501 or grpc://host:8500. Received: {address!r}."
            )
        self.batch_size, self.retries = batch_size, retries
        self._transport = kinds[scheme](address, model, version, label, timeout)
        self._pool = concurrent.futures.ThreadPoolExecutor(parallel)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Closes the connections."""
        self._pool.shutdown()
        self._transport.close()

    def __call__(self, images):
        """Features of images.

        Args:
            images: `[B, H, W, C]`, floats in [0, 1] or uint8, in the model's size; or a list of image files of any
                size, as paths or bytes.

        Returns:
            float32 `[B, F]`.

        Raises:
            ServingError: what the server did not accept.
        """
        if isinstance(images, str | os.PathLike | bytes):
            raise ValueError(f"Client: expected a list of images, even of one. Received: {type(images).__name__}.")
        if isinstance(images, np.ndarray) and images.dtype.kind in "fiu":
            return self.predict("serving_default", {"images": _floats(images)})["embedding"]
        files = [each if isinstance(each, bytes) else pathlib.Path(each).read_bytes() for each in images]
        array = np.empty(len(files), object)
        array[:] = files
        return self.predict("encode_bytes", {"image_bytes": array})["embedding"]

    def features(self, images):
        """Features and maps by name, of `[B, H, W, C]` images as above: `embedding`, and `P2`, `P3`, ..."""
        return self.predict("features", {"images": _floats(np.asarray(images))})

    def predict(self, signature, inputs):
        """Any signature of an encoder: arrays `[B, ...]` by name -> float32 arrays `[B, ...]` by name."""
        rows = {len(array) for array in inputs.values()}
        if len(rows) != 1 or rows == {0}:
            raise ValueError(f"Client: expected inputs of as many rows, one or more. Received: rows={sorted(rows)}.")
        starts = range(0, rows.pop(), self.batch_size)
        parts = [{name: array[i : i + self.batch_size] for name, array in inputs.items()} for i in starts]
        answers = list(self._pool.map(lambda part: self._attempt(signature, part), parts))
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def wait(self, seconds=60.0):
        """Waits until the server has a version of the model to answer with; `TimeoutError` if it does not get one.

        Returns:
            The states of its versions by number, `"AVAILABLE"` for example.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = self._transport.states()
                if "AVAILABLE" in found.values():
                    return found
            except status.ServingError as error:
                found = error
            if time.monotonic() >= deadline:
                raise TimeoutError(
                    f"Client: expected a version to answer with within {seconds:g} seconds. Received: {found}."
                )
            time.sleep(0.1)

    def _attempt(self, signature, inputs):
        for attempt in range(self.retries + 1):
            try:
                return self._transport.predict(signature, inputs)
            except status.ServingError as error:
                if error.code != "UNAVAILABLE" or attempt == self.retries:
                    raise
            time.sleep(random.uniform(0.08, 0.12) * 2**attempt)  # not all clients at the same moment
        raise AssertionError


def _floats(images):
    """Pixels in [0, 1] as float32, `[B, H, W, C]`."""
    if images.ndim != 4:
        raise ValueError(f"Client: expected images [B, H, W, C]. Received: shape={images.shape}.")
    return images.astype(np.float32) / 255 if images.dtype == np.uint8 else images.astype(np.float32, copy=False)


class _Rest:
    """Requests as JSON."""

    def __init__(self, address, model, version, label, timeout):
        import requests

        self._errors = requests.exceptions
        self._session, self._timeout = requests.Session(), timeout
        quoted = lambda name: requests.utils.quote(name, safe="")  # noqa: E731
        part = f"/versions/{version}" if version is not None else f"/labels/{quoted(label)}" if label else ""
        self._url = f"{address.rstrip('/')}/v1/models/{quoted(model)}{part}"

    def close(self):
        self._session.close()

    def _answer(self, method, url, **arguments):
        try:
            response = self._session.request(method, url, timeout=self._timeout, **arguments)
        except self._errors.Timeout as error:
            raise status.ServingError("DEADLINE_EXCEEDED", f"No answer from {url}: {error}") from error
        except self._errors.RequestException as error:
            raise status.ServingError("UNAVAILABLE", f"No answer from {url}: {error}") from error
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

    def states(self):
        return {int(each["version"]): each["state"] for each in self._answer("GET", self._url)["model_version_status"]}

    def predict(self, signature, inputs):
        columns = {name: _as_json(array) for name, array in inputs.items()}
        body = _written({"signature_name": signature, "inputs": columns}, inputs)
        headers = {"Content-Type": "application/json"}
        outputs = self._answer("POST", f"{self._url}:predict", data=body, headers=headers)["outputs"]
        # A single output comes without its name; those of encoders have but one.
        outputs = outputs if isinstance(outputs, dict) else {"embedding": outputs}
        return {name: np.asarray(value, np.float32) for name, value in outputs.items()}


def _written(document, inputs):
    """JSON in which NaN and Infinity stay what they are."""
    if all(np.isfinite(array).all() for array in inputs.values() if array.dtype.kind == "f"):
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, default=lambda array: array.tolist()).encode()


def _as_json(array):
    if array.dtype == object:
        return [{"b64": base64.b64encode(data).decode()} for data in array]
    return np.ascontiguousarray(array)


class _Grpc:
    """Requests as protocol buffers."""

    def __init__(self, address, model, version, label, timeout):
        import grpc

        self._grpc, self._timeout = grpc, timeout
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(address.partition("://")[2], options)
        self._spec = {"name": model, "version": version, "label": label}

        def method(path, answer):
            return self._channel.unary_unary(path, lambda message: message.SerializeToString(), answer.FromString)

        self._predict = method("/tensorflow.serving.PredictionService/Predict", messages_pb2.PredictResponse)
        self._status = method("/tensorflow.serving.ModelService/GetModelStatus", messages_pb2.GetModelStatusResponse)

    def close(self):
        self._channel.close()

    def _request(self, kind):
        request = kind()
        request.model_spec.name = self._spec["name"]
        if self._spec["version"] is not None:
            request.model_spec.version.value = self._spec["version"]
        if self._spec["label"] is not None:
            request.model_spec.version_label = self._spec["label"]
        return request

    def _call(self, method, request):
        try:
            return method(request, timeout=self._timeout)
        except self._grpc.RpcError as error:
            raise status.ServingError(error.code().name, error.details()) from error

    def states(self):
        answer = self._call(self._status, self._request(messages_pb2.GetModelStatusRequest))
        name = messages_pb2.ModelVersionStatus.State.Name
        return {entry.version: name(entry.state) for entry in answer.model_version_status}

    def predict(self, signature, inputs):
        request = self._request(messages_pb2.PredictRequest)
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            request.inputs[name] = tensors.to_bytes(array)
        answer = self._call(self._predict, request)
        return {name: tensors.to_array(tensors.parsed(data, name)) for name, data in answer.outputs.items()}
