"""Warm-up requests of a SavedModel: TensorFlow Serving replays them before it lets a model answer.

The file holds `PredictionLog` messages of tensorflow/serving's `apis/prediction_log.proto`. Their few fields are
declared here, under names of our own, so that writing them needs no package but the protobuf that TensorFlow brings.
"""

import pathlib

import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2

PLACE = "assets.extra/tf_serving_warmup_requests"
_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "zoo.serving.warmup"


def _field(message, name, number, kind, repeated=False):
    field = message.field.add(name=name, number=number)
    field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
    if isinstance(kind, str):
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = kind


def _messages():
    """The message class `PredictionLog`; fields and numbers are those of tensorflow/serving's protocol."""
    file = descriptor_pb2.FileDescriptorProto(name="zoo/serving/warmup.proto", package=_PACKAGE, syntax="proto3")
    version = file.message_type.add(name="Version")  # google.protobuf.Int64Value
    _field(version, "value", 1, _FIELD.TYPE_INT64)
    spec = file.message_type.add(name="ModelSpec")
    _field(spec, "name", 1, _FIELD.TYPE_STRING)
    _field(spec, "version", 2, "Version")
    _field(spec, "signature_name", 3, _FIELD.TYPE_STRING)
    _field(spec, "version_label", 4, _FIELD.TYPE_STRING)
    request = file.message_type.add(name="PredictRequest")
    _field(request, "model_spec", 1, "ModelSpec")
    _field(request, "inputs", 2, "PredictRequest.InputsEntry", repeated=True)
    _field(request, "output_filter", 3, _FIELD.TYPE_STRING, repeated=True)
    entry = request.nested_type.add(name="InputsEntry")
    entry.options.map_entry = True
    _field(entry, "key", 1, _FIELD.TYPE_STRING)
    # A TensorProto: on the wire an embedded message and its bytes are the same.
    _field(entry, "value", 2, _FIELD.TYPE_BYTES)
    log = file.message_type.add(name="PredictLog")
    _field(log, "request", 1, "PredictRequest")
    record = file.message_type.add(name="PredictionLog")
    _field(record, "predict_log", 6, "PredictLog")
    # A pool of its own: the real protocol may be loaded in the same process.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.PredictionLog"))


PredictionLog = _messages()


def record(model, signature, inputs):
    """One warm-up request.

    Args:
        model: name of the model.
        signature: name of the signature to call.
        inputs: dict from input name to `TensorProto`.

    Returns:
        `PredictionLog`.
    """
    log = PredictionLog()
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
    """The requests of a SavedModel folder as a list of `(signature, {input: tensor})`."""
    requests_read = []
    for data in tf.data.TFRecordDataset(str(pathlib.Path(folder) / PLACE)).as_numpy_iterator():
        request = PredictionLog.FromString(data).predict_log.request
        inputs = {}
        for name, value in request.inputs.items():
            array = tf.make_ndarray(tensor_pb2.TensorProto.FromString(value))
            inputs[name] = tf.convert_to_tensor(array)
        requests_read.append((request.model_spec.signature_name, inputs))
    return requests_read
