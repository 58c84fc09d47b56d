"""TensorFlow Serving's published API, asked of our server, or of a real one: see `reference/toy_models.py`.

Status codes and shapes of answers, see https://www.tensorflow.org/tfx/serving/api_rest. Errors are sentences of the
server's own; with a real server given, this suite does not look at them.
"""

import base64
import gzip
import json
import math

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from reference import running, toy_models

# The official package, without what it asks for: tools/environment installs it so.
pytest.importorskip("tensorflow_serving")
from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

HUGE = "9" * 30


@pytest.fixture(scope="module")
def rest(request):
    address = request.config.getoption("--serving_rest", None)
    return address.rstrip("/") if address else running.url(request.getfixturevalue("served"))


@pytest.fixture(scope="module")
def channel(request):
    address = request.config.getoption("--serving_grpc", None)
    address = address or f"127.0.0.1:{request.getfixturevalue('served').ports['grpc']}"
    with grpc.insecure_channel(address) as made:
        yield made


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture(scope="module")
def post(rest):
    def answer(path, body, **options):
        body = body if isinstance(body, bytes) else json.dumps(body)
        response = requests.post(f"{rest}{path}", data=body, timeout=60, **options)
        return response

    return answer


@pytest.fixture(scope="module")
def predict(post):
    """The answer's document; asserts that there is one."""

    def answer(model, **document):
        response = post(f"/v1/models/{model}:predict", document)
        assert response.status_code == 200, response.text
        assert response.headers["Content-Type"].partition(";")[0] == "application/json"
        return json.loads(response.text)

    return answer


@pytest.fixture(scope="module", autouse=True)
def _words(request):
    """Errors are compared where the server is ours."""
    global OURS
    OURS = not request.config.getoption("--serving_rest", None)


OURS = True


def refused(response, code, *words):
    assert response.status_code == code, response.text
    assert response.headers["Content-Type"].partition(";")[0] == "application/json"
    document = response.json()
    assert set(document) == {"error"}
    for word in words if OURS else ():
        assert word in document["error"]


# Predict: shapes of requests and answers


def test_the_example_of_the_documentation(predict):
    assert predict("half", instances=[1.0, 2.0, 5.0]) == {"predictions": [3.5, 4.0, 5.5]}


def test_floats_are_written_as_floats(post):
    assert "2.0" in post("/v1/models/half/versions/1:predict", {"instances": [0]}).text


def test_columns(predict):
    assert predict("half", inputs=[1.0, 2.0]) == {"outputs": [3.5, 4.0]}
    assert predict("half", inputs={"x": [1.0, 2.0]}) == {"outputs": [3.5, 4.0]}


def test_rows_may_name_a_single_input(predict):
    assert predict("half", instances=[{"x": 1.0}, {"x": 2}]) == {"predictions": [3.5, 4.0]}


def test_several_inputs_and_outputs_in_rows(predict):
    rows = [{"a": [1, 2], "b": [3, 4]}, {"b": [0, 1], "a": [0.5, 0.5]}]
    assert predict("toys", signature_name="pair", instances=rows) == {
        "predictions": [{"sum": [4.0, 6.0], "dot": 11.0}, {"sum": [0.5, 1.5], "dot": 0.5}]
    }


def test_several_inputs_and_outputs_in_columns(predict):
    columns = {"a": [[1, 2]], "b": [[3, 4]]}
    assert predict("toys", signature_name="pair", inputs=columns) == {"outputs": {"sum": [[4.0, 6.0]], "dot": [11.0]}}


def test_columns_may_differ_in_length(predict):
    answer = predict("toys", signature_name="outer", inputs={"p": [1, 2, 3], "q": [1, 10]})
    assert answer == {"outputs": [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]}


def test_scalars(predict):
    assert predict("toys", signature_name="scalar", inputs=1.5) == {"outputs": 3.0}
    assert predict("toys", signature_name="scalar", inputs={"s": 1.5}) == {"outputs": 3.0}


def test_other_keys_are_ignored(predict):
    assert predict("half", instances=[1], parameters={"a": 1}) == {"predictions": [3.5]}
    assert predict("half", inputs={"x": [1], "y": [2]}) == {"outputs": [3.5]}


def test_strings(predict):
    assert predict("toys", signature_name="words", instances=["a", "bc", "é"]) == {"predictions": ["A", "BC", "é"]}
    assert predict("toys", signature_name="words", inputs={"text": ["a"]}) == {"outputs": ["A"]}


def test_bytes_go_in_and_out_as_base64(predict):
    data = [b"\xff\x00\xfe", b"abc"]
    encoded = [{"b64": base64.b64encode(each).decode()} for each in data]
    twice = [{"b64": base64.b64encode(each * 2).decode()} for each in data]
    rows = [{"twice_bytes": each, "length": 3} for each in twice]
    assert predict("toys", signature_name="files", instances=encoded) == {"predictions": rows}
    named = [{"data": each} for each in encoded]
    assert predict("toys", signature_name="files", instances=named) == {"predictions": rows}
    answer = predict("toys", signature_name="files", inputs=encoded)
    assert answer == {"outputs": {"twice_bytes": twice, "length": [3, 3]}}
    assert predict("toys", signature_name="words", instances=[encoded[1], "d"]) == {"predictions": ["ABC", "D"]}


def test_every_kind_of_number(predict):
    rows = [{"b": True, "i": -5, "n": 2**62, "u": 254, "d": 0.1}, {"b": False, "i": 2**30, "n": -1, "u": 0, "d": 1e300}]
    expected = [
        {"b": False, "i": -4, "n": 2**62 + 1, "u": 255, "d": 0.2},
        {"b": True, "i": 2**30 + 1, "n": 0, "u": 1, "d": 2e300},
    ]
    answer = predict("toys", signature_name="kinds", instances=rows)
    assert answer == {"predictions": expected}
    assert isinstance(answer["predictions"][0]["n"], int)


def test_nan_and_infinity_both_ways(predict):
    answer = predict("toys", signature_name="inverse", instances=[math.nan, 0.0, -math.inf, 4.0, -0.0])
    values = answer["predictions"]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, 0.0, 0.25, -math.inf]


def test_free_inner_shapes(predict):
    assert predict("toys", signature_name="matrix", instances=[[1, 2, 3], [4, 5, 6]]) == {"predictions": [6.0, 15.0]}
    assert predict("toys", signature_name="matrix", instances=[[1]]) == {"predictions": [1.0]}


def test_a_real_encoder(predict):
    pixels = np.random.default_rng(0).integers(0, 256, (2, *toy_models.IMAGE_SHAPE), dtype=np.uint8)
    floats = predict("encoder", instances=(pixels / 255).tolist())["predictions"]
    assert np.shape(floats) == (2, toy_models.FEATURES)
    encoded = [{"b64": base64.b64encode(tf.io.encode_png(each).numpy()).decode()} for each in pixels]
    answer = predict("encoder", signature_name="encode_bytes", instances=encoded)["predictions"]
    np.testing.assert_allclose(answer, floats, atol=1e-5)
    maps = predict("encoder", signature_name="features", instances=(pixels / 255).tolist())["predictions"]
    np.testing.assert_allclose([each["embedding"] for each in maps], floats, atol=1e-5)


# Versions, labels, paths


def test_versions_and_labels(post):
    def answer(part):
        return post(f"/v1/models/half{part}:predict", {"instances": [0.0]}).json()["predictions"]

    assert answer("") == answer("/versions/2") == answer("/labels/canary") == [3.0]
    assert answer("/versions/1") == answer("/labels/stable") == [2.0]


def test_paths_are_case_insensitive(post, rest):
    assert post("/V1/Models/half/VERSIONS/1:predict", {"instances": [0.0]}).json() == {"predictions": [2.0]}
    assert requests.get(f"{rest}/V1/MODELS/half", timeout=60).status_code == 200


def test_names_may_be_percent_encoded(post):
    assert post("/v1/models/%68alf:predict", {"instances": [0.0]}).json() == {"predictions": [3.0]}


def test_bodies_may_be_gzipped(post):
    body = gzip.compress(b'{"instances": [1.0]}')
    response = post("/v1/models/half:predict", body, headers={"Content-Encoding": "gzip"})
    assert response.json() == {"predictions": [3.5]}


# What is refused


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"instances": [1.0], "inputs": [1.0]}, ["either 'instances' or 'inputs'"]),
        ({}, ["either 'instances' or 'inputs'"]),
        ({"signature_name": "serving_default"}, ["either 'instances' or 'inputs'"]),
        ({"instances": []}, ["`instances`", "one or more rows. Received: []"]),
        ({"instances": 1.0}, ["`instances` to be a list", "1.0"]),
        ({"instances": {"x": 1.0}}, ["`instances` to be a list", "{'x': 1.0}"]),
        ({"instances": ["one"]}, ["Input x: expected DT_FLOAT [?]", "Received: 'one' at [0]"]),
        ({"instances": [True]}, ["Input x: expected DT_FLOAT", "True at [0]"]),
        ({"instances": [None]}, ["Input x: expected DT_FLOAT", "None at [0]"]),
        ({"inputs": ["one"]}, ["Input x: expected DT_FLOAT", "'one' at [0]"]),
        ({"instances": [16777217]}, ["numbers within its range and precision. Received: 16777217 at [0]"]),
        ({"instances": [1e39]}, ["numbers within its range and precision. Received: 1e+39 at [0]"]),
        ({"instances": [1.0, [2.0]]}, ["Input x: expected DT_FLOAT", "[2.0] at [1]"]),
        ({"instances": [{"x": 1.0}, 2.0]}, ["row 1 of `instances`", "Received: 2.0"]),
        ({"instances": [1.0, {"x": 2.0}]}, ["row 0 of `instances`", "Received: 1.0"]),
        ({"instances": [{"x": 1.0, "z": 2.0}]}, ["row 0 of `instances`", "'z': 2.0"]),
        ({"instances": [{"z": 2.0}]}, ["row 0 of `instances` to be an object with ['x']", "{'z': 2.0}"]),
        ({"inputs": {"z": [1.0]}}, ["`inputs` to be an object with ['x']", "{'z': [1.0]}"]),
        ({"signature_name": 1, "instances": [1.0]}, ["`signature_name` to be a string. Received: 1"]),
        ({"signature_name": "other", "instances": [1.0]}, ["a signature among serving_default", "'other'"]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_requests_that_do_not_fit(post, document, words):
    refused(post("/v1/models/half:predict", document), 400, *words)


@pytest.mark.parametrize(
    ("signature", "document", "words"),
    [
        ("pair", {"instances": [[1, 2]]}, ["row 0 of `instances` to be an object with ['a', 'b']"]),
        ("pair", {"inputs": [[1, 2]]}, ["`inputs` to be an object with ['a', 'b']"]),
        ("pair", {"instances": [{"a": [1, 2]}]}, ["row 0 of `instances` to be an object with ['a', 'b']"]),
        ("pair", {"inputs": {"a": [[1, 2]]}}, ["`inputs` to be an object with ['a', 'b']"]),
        ("matrix", {"instances": [[1, 2], [3]]}, ["Input m: expected a list of 2 at [1]. Received: [3]"]),
        ("matrix", {"inputs": [[1, 2], [3]]}, ["Input m: expected a list of 2 at [1]. Received: [3]"]),
        ("matrix", {"inputs": [[1, 2], 3]}, ["Input m: expected a list of 2 at [1]. Received: 3"]),
        ("matrix", {"inputs": [[1, 2], [3, [4]]]}, ["Input m: expected DT_FLOAT [?,?]", "[4] at [1, 1]"]),
        ("words", {"instances": [1]}, ["Input text: expected DT_STRING [?], strings or", "1 at [0]"]),
        ("words", {"instances": [{"b64": "?!"}]}, ["Input text: expected DT_STRING", "{'b64': '?!'} at [0]"]),
        ("words", {"inputs": [{"b64": "YQ==", "a": 1}]}, ["Input text: expected DT_STRING", "'b64': 'YQ=='"]),
        (
            "kinds",
            {"inputs": {"b": [1], "i": [1], "n": [1], "u": [1], "d": [1]}},
            ["DT_BOOL [?], true or false"],
        ),
        ("kinds", {"inputs": {"b": [True], "i": [1.0], "n": [1], "u": [1], "d": [1]}}, ["expected DT_INT32", "1.0 at"]),
        (
            "kinds",
            {"inputs": {"b": [True], "i": [2**31], "n": [1], "u": [1], "d": [1]}},
            ["expected DT_INT32"],
        ),
        (
            "kinds",
            {"inputs": {"b": [True], "i": [1], "n": [2**63], "u": [1], "d": [1]}},
            ["expected DT_INT64"],
        ),
        ("inverse", {"inputs": [[1.0]]}, []),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_requests_that_do_not_fit_a_signature(post, signature, document, words):
    refused(post("/v1/models/toys:predict", {"signature_name": signature, **document}), 400, *words)


@pytest.mark.parametrize("body", [b"", b"{", b'{"instances": [1.0,]}', b'{"instances": [1.0]} x', b"\xff"])
def test_bodies_that_are_no_json(post, body):
    refused(post("/v1/models/half:predict", body), 400, "expected a JSON document")


@pytest.mark.parametrize("body", [b"[1.0]", b"1", b"null"])
def test_bodies_that_are_no_object(post, body):
    refused(post("/v1/models/half:predict", body), 400, "expected an object")


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/v1/models/other:predict", 404, ["'other'"]),
        ("/v1/models/half/versions/9:predict", 404, ["a version among 1, 2. Received: version=9"]),
        ("/v1/models/half/labels/other:predict", 400, ["a label among canary, stable", "'other'"]),
        (f"/v1/models/half/versions/{HUGE}:predict", 400, [f"a version below 2**63. Received: {HUGE}"]),
        ("/v1/models/half/versions/one:predict", 400, ["POST /v1/models/half/versions/one:predict"]),
        ("/v1/models/half/versions/1/labels/stable:predict", 400, ["POST /v1/models/"]),
        ("/v1/models/half:explain", 400, ["POST /v1/models/half:explain"]),
        ("/v1/models/half", 400, ["POST /v1/models/half"]),
        ("/v1/models/half:predict/", 400, ["POST /v1/models/"]),
        ("/v1/models/:predict", 400, ["POST /v1/models/"]),
    ],
)
def test_posts_to_nowhere(post, path, code, words):
    refused(post(path, {"instances": [1.0]}), code, *words)


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/v1/models", 400, ["GET /v1/models"]),
        ("/v1/models/other", 404, ["'other'"]),
        ("/v1/models/half/versions/9", 404, ["a version among 1, 2. Received: version=9"]),
        ("/v1/models/half:predict", 400, ["GET /v1/models/half:predict"]),
        ("/v1/models/half/", 400, ["GET /v1/models/half/"]),
        ("/v1/models/other/metadata", 404, ["'other'"]),
        (
            "/v1/models/half/versions/9/metadata",
            404,
            ["Model half: expected a version among 1, 2. Received: version=9"],
        ),
    ],
)
def test_gets_of_nothing(rest, path, code, words):
    refused(requests.get(f"{rest}{path}", timeout=60), code, *words)


@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_signatures_are_for_prediction_only(post, verb):
    refused(post(f"/v1/models/half:{verb}", {"examples": [{"x": 1.0}]}), 400, f"/v1/models/half:{verb}")


def test_an_encoder_refuses_other_images(post):
    refused(post("/v1/models/encoder:predict", {"instances": np.zeros((1, 8, 9, 3)).tolist()}), 400)
    refused(post("/v1/models/encoder:predict", {"instances": np.full((1, 8, 8, 3), 255).tolist()}), 400, "[0, 1]")


# Status, metadata, metrics


def version_status(number):
    return {"version": number, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


def test_status(rest):
    def answer(part):
        response = requests.get(f"{rest}/v1/models/{part}", timeout=60)
        assert response.status_code == 200
        return response.json()

    versions = answer("half")["model_version_status"]
    assert sorted(versions, key=lambda each: each["version"]) == [version_status("1"), version_status("2")]
    assert answer("half/versions/1") == {"model_version_status": [version_status("1")]}
    assert answer("half/labels/stable") == {"model_version_status": [version_status("1")]}
    assert answer("encoder") == {"model_version_status": [version_status("7")]}


def test_metadata(rest):
    document = requests.get(f"{rest}/v1/models/half/metadata", timeout=60).json()
    assert set(document) == {"model_spec", "metadata"}
    assert document["model_spec"] == {"name": "half", "signature_name": "", "version": "2"}
    assert set(document["metadata"]) == {"signature_def"}
    assert set(document["metadata"]["signature_def"]) == {"signature_def"}
    found = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    name = found["inputs"]["x"].pop("name")
    assert name.startswith("serving_default_x")
    assert found["inputs"] == {"x": {"dtype": "DT_FLOAT", "tensor_shape": shape}}
    assert set(found["outputs"]) == {"y"}
    assert found["method_name"] == "tensorflow/serving/predict"


def test_metadata_of_a_version(rest):
    for part in ("versions/1", "labels/stable"):
        document = requests.get(f"{rest}/v1/models/half/{part}/metadata", timeout=60).json()
        assert document["model_spec"]["version"] == "1"


def test_metadata_of_scalars_and_strings(rest):
    document = requests.get(f"{rest}/v1/models/toys/metadata", timeout=60).json()
    found = document["metadata"]["signature_def"]["signature_def"]
    assert {"pair", "words", "files", "kinds", "scalar", "matrix", "outer", "inverse"} <= set(found)
    assert found["scalar"]["inputs"]["s"]["tensor_shape"] == {"dim": [], "unknown_rank": False}
    assert found["words"]["inputs"]["text"]["dtype"] == "DT_STRING"


def test_metrics(rest, predict):
    predict("half", instances=[1.0])
    page = requests.get(f"{rest}/monitoring/prometheus/metrics", timeout=60)
    assert page.headers["Content-Type"].startswith("text/plain")
    lines = [line for line in page.text.splitlines() if line.startswith(":tensorflow:serving:request_count{")]
    (line,) = [line for line in lines if 'model_name="half"' in line and 'status="OK"' in line]
    assert float(line.rpartition(" ")[2]) >= 1
    assert ":tensorflow:serving:request_latency_bucket{" in page.text


# gRPC, through the official stubs


def asked(model="half", signature="", version=None, label="", **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def fails(method, request, code, *words):
    with pytest.raises(grpc.RpcError) as caught:
        method(request, timeout=60)
    assert caught.value.code() is code, caught.value.details()
    for word in words if OURS else ():
        assert word in caught.value.details()


FLOATS = np.array([1, 2], np.float32)


def test_grpc_predict(prediction):
    answer = prediction.Predict(asked(x=FLOATS), timeout=60)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("half", 2)
    assert answer.model_spec.signature_name == "serving_default"
    assert set(answer.outputs) == {"y"}
    y = answer.outputs["y"]
    assert y.dtype == tf.float32.as_datatype_enum
    np.testing.assert_array_equal(tf.make_ndarray(y), [3.5, 4.0])
    assert list(y.float_val) == [3.5, 4.0]  # as the server's own tests read it


def test_grpc_versions_and_labels(prediction):
    for request in (asked(version=1, x=FLOATS), asked(label="stable", x=FLOATS)):
        answer = prediction.Predict(request, timeout=60)
        assert answer.model_spec.version.value == 1
        np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["y"]), [2.5, 3.0])


def test_grpc_every_kind(prediction):
    inputs = {
        "b": [True, False],
        "i": np.array([1, -1], np.int32),
        "n": np.array([2**62, -1], np.int64),
        "u": np.array([254, 0], np.uint8),
        "d": np.array([0.1, np.nan]),
    }
    answer = prediction.Predict(asked("toys", "kinds", **inputs), timeout=60)
    found = {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}
    assert {name: array.dtype.name for name, array in found.items()} == {
        "b": "bool",
        "i": "int32",
        "n": "int64",
        "u": "uint8",
        "d": "float64",
    }
    assert found["b"].tolist() == [False, True]
    assert found["i"].tolist() == [2, 0]
    assert found["n"].tolist() == [2**62 + 1, 0]
    assert found["u"].tolist() == [255, 1]
    np.testing.assert_array_equal(found["d"], [0.2, np.nan])


def test_grpc_strings_and_scalars(prediction):
    answer = prediction.Predict(asked("toys", "files", data=[b"\xff\x00", b"a"]), timeout=60)
    assert tf.make_ndarray(answer.outputs["twice_bytes"]).tolist() == [b"\xff\x00" * 2, b"aa"]
    answer = prediction.Predict(asked("toys", "scalar", s=np.float32(1.5)), timeout=60)
    assert tf.make_ndarray(answer.outputs["doubled"]).shape == ()
    assert float(tf.make_ndarray(answer.outputs["doubled"])) == 3.0


def test_grpc_output_filter(prediction):
    inputs = {"a": np.ones((1, 2), np.float32), "b": np.ones((1, 2), np.float32)}
    request = asked("toys", "pair", **inputs)
    request.output_filter.append("dot")
    assert set(prediction.Predict(request, timeout=60).outputs) == {"dot"}
    request.output_filter.append("dot")
    fails(prediction.Predict, request, grpc.StatusCode.INVALID_ARGUMENT, "['dot', 'dot']")
    request.output_filter[:] = ["other"]
    fails(prediction.Predict, request, grpc.StatusCode.INVALID_ARGUMENT, "among dot, sum", "['other']")


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (asked("other", x=FLOATS), "NOT_FOUND", ["'other'"]),
        (asked(version=9, x=FLOATS), "NOT_FOUND", ["a version among 1, 2", "version=9"]),
        (asked(label="other", x=FLOATS), "INVALID_ARGUMENT", ["a label among canary, stable", "'other'"]),
        (asked(signature="other", x=FLOATS), "FAILED_PRECONDITION", ["a signature among serving_default", "'other'"]),
        (asked(), "INVALID_ARGUMENT", ["expected the inputs x. Received: none"]),
        (asked(x=FLOATS, z=FLOATS), "INVALID_ARGUMENT", ["expected the inputs x. Received: x, z"]),
        (asked(z=FLOATS), "INVALID_ARGUMENT", []),
        (asked(x=FLOATS.astype(np.float64)), "INVALID_ARGUMENT", []),
        (asked(x=FLOATS[None]), "INVALID_ARGUMENT", []),
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", ["a model_spec"]),
    ],
    ids=range(10),
)
def test_grpc_predict_refuses(prediction, request_, code, words):
    fails(prediction.Predict, request_, grpc.StatusCode[code], *words)


def metadata_request(name, *fields):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    return request


def test_grpc_metadata(prediction):
    answer = prediction.GetModelMetadata(metadata_request("half", "signature_def"), timeout=60)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("half", 2)
    assert set(answer.metadata) == {"signature_def"}
    found = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    assert answer.metadata["signature_def"].Unpack(found)
    definition = found.signature_def["serving_default"]
    assert definition.inputs["x"].dtype == tf.float32.as_datatype_enum
    assert [dim.size for dim in definition.inputs["x"].tensor_shape.dim] == [-1]
    assert definition.method_name == "tensorflow/serving/predict"


def test_grpc_metadata_refuses(prediction):
    code = grpc.StatusCode
    method = prediction.GetModelMetadata
    fails(method, metadata_request("half"), code.INVALID_ARGUMENT, "metadata_field=signature_def. Received: []")
    fails(method, metadata_request("half", "other"), code.INVALID_ARGUMENT, "metadata_field=signature_def", "other")
    fails(method, metadata_request("other", "signature_def"), code.NOT_FOUND, "'other'")
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    fails(method, request, code.INVALID_ARGUMENT, "a model_spec")


def test_grpc_status(models):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half"
    answer = models.GetModelStatus(request, timeout=60)
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    found = {each.version: (each.state, each.status.error_code) for each in answer.model_version_status}
    assert found == {1: (available, 0), 2: (available, 0)}
    request.model_spec.version.value = 1
    assert [each.version for each in models.GetModelStatus(request, timeout=60).model_version_status] == [1]
    request.model_spec.version.value = 9
    fails(models.GetModelStatus, request, grpc.StatusCode.NOT_FOUND, "version=9")
