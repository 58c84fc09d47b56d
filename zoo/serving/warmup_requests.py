"""Warm-up requests of a SavedModel: TensorFlow Serving replays them before it lets a model answer."""

import pathlib

import tensorflow as tf

from zoo.serving import messages_pb2, tensors

PLACE = "assets.extra/tf_serving_warmup_requests"


def record(model, signature, inputs):
    """One warm-up request.

    Args:
        model: name of the model.
        signature: name of the signature to call.
        inputs: dict from input name to `TensorProto`.

    Returns:
        `messages_pb2.PredictionLog`.
    """
    log = messages_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, tensor in inputs.items():
        request.inputs[name] = tensor.SerializeToString(deterministic=True)
    return log


def requests(model, image_shape, batch_sizes=(1, 32)):
    """One request per signature and batch size, of evenly gray images.

    Args:
        model: name of the model.
        image_shape: `(H, W, C)` that the model eats.
        batch_sizes: the sizes to warm up.

    Returns:
        list of `PredictionLog`.
    """
    png = tf.io.encode_png(tf.fill(image_shape, tf.constant(128, tf.uint8))).numpy()
    logs = []
    for size in batch_sizes:
        # A TensorProto repeats its last value, so that these batches weigh a few bytes.
        images = tf.make_tensor_proto(0.5, tf.float32, shape=(size, *image_shape))
        encoded = tf.make_tensor_proto(png, tf.string, shape=(size,))
        logs.append(record(model, "serving_default", {"images": images}))
        logs.append(record(model, "features", {"images": images}))
        logs.append(record(model, "encode_bytes", {"image_bytes": encoded}))
    return logs


def write(folder, model, image_shape, batch_sizes=(1, 32)):
    """Writes the warm-up requests into a SavedModel folder, as `assets.extra/tf_serving_warmup_requests`."""
    path = pathlib.Path(folder) / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for log in requests(model, image_shape, batch_sizes):
            file.write(log.SerializeToString(deterministic=True))


def read(folder):
    """The requests of a SavedModel folder as a list of `(signature, {input: array})`."""
    requests_read = []
    for data in tf.data.TFRecordDataset(str(pathlib.Path(folder) / PLACE)).as_numpy_iterator():
        request = messages_pb2.PredictionLog.FromString(data).predict_log.request
        inputs = {name: tensors.to_array(tensors.parsed(value, name)) for name, value in request.inputs.items()}
        requests_read.append((request.model_spec.signature_name, inputs))
    return requests_read
