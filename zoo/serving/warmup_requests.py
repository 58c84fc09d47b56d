"""Warm-up requests of a SavedModel, which a server replays before it lets a model answer."""

import pathlib
from typing import Any

import tensorflow as tf

from zoo.serving import messages_pb2, tensors

PLACE = "assets.extra/tf_serving_warmup_requests"


def record(model: str, signature: str, inputs: dict[str, Any]) -> Any:
    """Returns a warm-up request, a `PredictionLog`, for a signature of a model; `inputs` are `TensorProto` by name."""
    log = messages_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, tensor in inputs.items():
        request.inputs[name] = tensor.SerializeToString(deterministic=True)
    return log


def requests(model: str, image_shape: tuple[int, ...]) -> list[Any]:
    """Returns a request for each signature of an encoder of `(H, W, C)` images, with 1 and with 32 gray images."""
    png = tf.io.encode_png(tf.fill(image_shape, tf.constant(128, tf.uint8))).numpy()
    logs = []
    for size in (1, 32):
        # A TensorProto repeats its last value, so that these batches take a few bytes.
        images = tf.make_tensor_proto(0.5, tf.float32, shape=(size, *image_shape))
        files = tf.make_tensor_proto(png, tf.string, shape=(size,))
        logs.append(record(model, "serving_default", {"images": images}))
        logs.append(record(model, "features", {"images": images}))
        logs.append(record(model, "encode_bytes", {"image_bytes": files}))
    return logs


def write(folder: pathlib.Path, model: str, image_shape: tuple[int, ...]) -> None:
    """Writes the requests of an encoder into the folder of its SavedModel; arguments are those of `requests`."""
    path = pathlib.Path(folder) / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for log in requests(model, image_shape):
            file.write(log.SerializeToString(deterministic=True))


def read(folder: pathlib.Path) -> list[tuple[str, dict[str, Any]]]:
    """Returns the requests in the folder of a SavedModel as pairs of a signature and its inputs by name."""
    found = []
    for data in tf.data.TFRecordDataset(str(pathlib.Path(folder) / PLACE)).as_numpy_iterator():
        request = messages_pb2.PredictionLog.FromString(data).predict_log.request
        inputs = {name: tensors.to_array(tensors.parsed(value, name)) for name, value in request.inputs.items()}
        found.append((request.model_spec.signature_name, inputs))
    return found
