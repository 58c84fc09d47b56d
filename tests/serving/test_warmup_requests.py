import numpy as np
import pytest
import tensorflow as tf

from zoo.models import mlp
from zoo.serving import export, warmup_requests


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "m"
    card = {
        "name": "m",
        "description": "A test.",
        "license": {"code": "a", "weights": "b", "data": "c"},
        "citation": "",
    }
    export.export(mlp.mlp(image_shape=(8, 8, 1), widths=(6,)), path, card)
    return path


def test_the_bytes_are_those_of_the_protocol():
    """The wire format by hand: tag = number * 8 + 2, then the length, then the content."""
    log = warmup_requests.record("m", "s", {"x": tf.make_tensor_proto(np.float32(0), shape=())})

    def part(number, content):
        return bytes([number << 3 | 2, len(content)]) + content

    tensor = tf.make_tensor_proto(np.float32(0), shape=()).SerializeToString()
    spec = part(1, b"m") + part(3, b"s")
    entry = part(1, b"x") + part(2, tensor)
    assert log.SerializeToString(deterministic=True) == part(6, part(1, part(1, spec) + part(2, entry)))


def test_every_signature_is_warmed_for_one_image_and_for_many(folder):
    loaded = tf.saved_model.load(str(folder))
    seen = set()
    for signature, inputs in warmup_requests.read(folder):
        answer = loaded.signatures[signature](**inputs)
        (tensor,) = inputs.values()
        assert answer["embedding"].shape == (tensor.shape[0], 6)
        seen.add((signature, tensor.shape[0]))
    assert seen == {(signature, size) for signature in loaded.signatures for size in (1, 32)}
    assert len(warmup_requests.read(folder)) == 6


def test_large_batches_stay_small_on_disk():
    logs = warmup_requests.requests("m", (224, 224, 3))
    assert sum(log.ByteSize() for log in logs) < 10_000


def test_tensorflow_serving_reads_the_same(folder):
    prediction_log = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    ours = warmup_requests.requests("m", (8, 8, 1))
    for log in ours:
        theirs = prediction_log.PredictionLog.FromString(log.SerializeToString())
        assert theirs.WhichOneof("log_type") == "predict_log"
        request, expected = theirs.predict_log.request, log.predict_log.request
        assert request.model_spec.name == "m"
        assert request.model_spec.signature_name == expected.model_spec.signature_name
        assert {name: tensor.SerializeToString() for name, tensor in request.inputs.items()} == dict(expected.inputs)
