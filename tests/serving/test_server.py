"""Around the answers: flags, ports, health, metrics, logs."""

import io
import json
import logging
import os
import socket
import sys

import grpc
import pytest
import requests
from absl import flags
from grpc_health.v1 import health_pb2, health_pb2_grpc
from reference import programs, running

from zoo.serving import batching, limits, repository, server
from zoo.tools import serve

GOOD = {"instances": [1.0]}


def half(deployed):
    return (repository.Model("half", deployed / "half"),)


def test_health(served):
    for path, answer in (("live", {"status": "live"}), ("ready", {"status": "ready"})):
        response = requests.get(running.url(served, f"/health/{path}"))
        assert (response.status_code, response.json()) == (200, answer)
    with grpc.insecure_channel(f"127.0.0.1:{served.ports['grpc']}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "tensorflow.serving.PredictionService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=60)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_metrics_count_what_happens(deployed):
    with running.running(half(deployed)) as made:
        for _ in range(3):
            running.predict(made, "half", {"instances": [1.0, 2.0]})
        running.predict(made, "half", {"instances": ["one"]})
        for name in ("a", "b", "c"):
            running.predict(made, name, GOOD)
        lines = requests.get(running.url(made, "/monitoring/prometheus/metrics")).text.splitlines()
    counts = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}
    of = ":tensorflow:serving:"
    assert counts[f'{of}request_count{{model_name="half",status="OK"}}'] == 3
    assert counts[f'{of}request_count{{model_name="half",status="INVALID_ARGUMENT"}}'] == 1
    # Names that strangers make up are one.
    assert counts[f'{of}request_count{{model_name="unknown",status="NOT_FOUND"}}'] == 3
    assert counts[f'{of}request_example_count_total{{model="half"}}'] == 6
    labels = 'API="Predict",entrypoint="REST",model_name="half",status="OK"'
    assert counts[f"{of}request_latency_count{{{labels}}}"] == 3
    assert counts["zoo_serving_waiting_rows"] == 0


@pytest.fixture
def log():
    logger = logging.getLogger("zoo.serving")
    loggers = [logger, logging.getLogger("uvicorn")]
    before = [(each, each.handlers[:], each.level, each.propagate) for each in loggers]
    stream = io.StringIO()
    yield stream
    for each, handlers, level, propagate in before:
        each.handlers[:], each.propagate = handlers, propagate
        each.setLevel(level)


@pytest.mark.parametrize("all_of_them", [True, False])
def test_logs_are_json_lines(deployed, log, all_of_them):
    serve.log_to(log, all_of_them)
    with running.running(half(deployed)) as made:
        running.predict(made, "half", GOOD)
        running.predict(made, "half\nx", GOOD)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert all({"time", "level", "event"} <= set(line) for line in lines)
    events = [line["event"] for line in lines]
    assert {"loaded", "serving", "draining", "stopped"} <= set(events)
    told = [line for line in lines if line["event"] == "request"]
    if not all_of_them:
        assert not told
        return
    fine, unknown = told
    assert fine["ms"] > 0
    expected = {"api": "REST", "status": 200, "model": "half", "version": 2, "signature": "serving_default", "rows": 1}
    assert {name: fine[name] for name in expected} == expected
    assert (unknown["status"], unknown["model"]) == (404, "half\nx")


def test_what_goes_wrong_inside_is_an_answer_and_a_line(deployed, log, monkeypatch):
    serve.log_to(log)
    with running.running(half(deployed)) as made:
        found = made.repository.find("half")
        with monkeypatch.context() as patch:
            patch.setattr(found, "run", lambda *arguments: 1 / 0)
            code, answer = running.predict(made, "half", GOOD)
        assert (code, answer) == (500, {"error": "ZeroDivisionError: division by zero"})
        assert running.predict(made, "half", GOOD)[0] == 200
    (line,) = [json.loads(line) for line in log.getvalue().splitlines() if "traceback" in line]
    assert "ZeroDivisionError" in line["traceback"]


def test_one_api_may_be_left_out(deployed):
    with running.running(half(deployed), port=None, grpc_port=0) as made:
        assert made.ports["rest"] is None
        with grpc.insecure_channel(f"127.0.0.1:{made.ports['grpc']}") as channel:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    with pytest.raises(ValueError, match="^Server: expected a `port`, a `grpc_port` or both. Received: port=None"):
        server.Server(half(deployed), port=None, grpc_port=None)


@pytest.mark.parametrize("which", ["port", "grpc_port"])
def test_a_port_that_is_taken_is_an_error(deployed, which):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"port": None, "grpc_port": None, which: taken.getsockname()[1]}
    made = server.Server(half(deployed), **ports)
    words = f"^Server: expected an address of this machine and a free port. Received: host='127.0.0.1', {which}="
    with socket.create_server(("127.0.0.1", ports[which])):
        with pytest.raises(OSError, match=words):
            made.run()
        with pytest.raises(OSError, match=words):  # before the models are loaded
            server.Server((repository.Model("none", deployed / "none"),), **ports)


@pytest.mark.parametrize("which", ["port", "grpc_port"])
@pytest.mark.parametrize("place", [{"host": "203.0.113.1"}, {"host": "no host"}, {"number": 65536}], ids=str)
def test_places_where_none_can_listen(which, place):
    ports = {"port": None, "grpc_port": None, which: place.get("number", 0)}
    with pytest.raises(OSError, match="^Server: expected an address of this machine and a free port"):
        server.Server([], place.get("host", "127.0.0.1"), **ports)


@pytest.mark.parametrize("path", ["metrics", "", "/{a}", "/a b"])
def test_paths_of_the_page_that_are_none(path):
    with pytest.raises(ValueError, match="^Server: expected a `metrics_path` such as /metrics. Received: "):
        server.Server([], metrics_path=path)


def test_only_this_machine_is_listened_to(served):
    assert served.host == "127.0.0.1"
    with socket.socket() as other, pytest.raises(OSError):
        other.settimeout(5)
        other.connect(("127.0.0.2", served.ports["rest"]))


@pytest.mark.parametrize("bounds", [{"rows": 0}, {"body_bytes": -1}, {"read_seconds": 0}, {"pixels": True}], ids=str)
def test_limits_that_are_none(bounds):
    (name,) = bounds
    with pytest.raises(ValueError, match=f"^Limits: expected `{name}` > 0. Received: {name}="):
        limits.Limits(**bounds)


# Flags


@pytest.fixture
def start(monkeypatch, log):
    """Runs the program; returns what it would have served, and how."""

    class Recorded:
        def __init__(self, *arguments):
            names = (
                "models",
                "host",
                "port",
                "grpc_port",
                "batch",
                "bounds",
                "poll_seconds",
                "metrics_path",
                "allowed",
            )
            made.append(dict(zip(names, arguments, strict=True)))

        def run(self, ready):
            ready({"rest": 1, "grpc": 2})

    made = []
    program = programs.serve(monkeypatch)
    monkeypatch.setattr(server, "Server", Recorded)

    def run(*arguments):
        assert program(*arguments) == 0
        return made[-1]

    return run


def test_flags_become_settings(start, deployed, tmp_path):
    (tmp_path / "batching.config").write_text("max_batch_size { value: 8 } num_batch_threads { value: 3 }")
    made = start(
        f"--model={deployed}",
        f"--batching_parameters_file={tmp_path / 'batching.config'}",
        "--max_batch_size=16",
        "--max_body_mb=0.5",
        "--max_pixels=100",
        "--answer_seconds=7",
        "--port=-1",
        "--poll_seconds=0",
        f"--port_file={tmp_path / 'ports.json'}",
    )
    assert [model.name for model in made["models"]] == ["half", "toys", "encoder"]
    assert made["batch"] == batching.Batching(max_batch_size=16, num_batch_threads=3)
    bounds = limits.Limits(body_bytes=1 << 19, pixels=100, request_pixels=1000, answer_seconds=7.0)
    assert made["bounds"] == bounds
    assert (made["host"], made["port"], made["grpc_port"], made["poll_seconds"]) == ("127.0.0.1", None, 8500, None)
    ports = json.loads((tmp_path / "ports.json").read_text())
    assert (ports["rest"], ports["grpc"]) == (1, 2)
    assert ports["pid"] > 0


def test_the_monitoring_configuration_places_the_page(start, deployed, tmp_path):
    path = tmp_path / "monitoring.config"
    for text, expected in (
        ('prometheus_config { enable: true path: "/metrics" }', "/metrics"),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ("prometheus_config { enable: false }", None),
    ):
        path.write_text(text)
        made = start(f"--model={deployed / 'half'}", f"--monitoring_config_file={path}")
        assert made["metrics_path"] == expected


def test_settings_beside_a_model_are_read(start, deployed, tmp_path):
    (tmp_path / "batching.config").write_text("max_batch_size { value: 8 }")
    (tmp_path / "models.config").write_text(
        f"model_config_list {{ config {{ name: 'm' base_path: '{deployed / 'half'}' }} }}"
    )
    assert start(f"--model={tmp_path}")["batch"].max_batch_size == 8
    made = start(f"--model_config_file={tmp_path / 'models.config'}", f"--model={deployed / 'half'}")
    assert [model.name for model in made["models"]] == ["half", "m"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "^--model: expected the name of a published model or a folder"),
        (["--model_config_file=/none"], "expected the path of a configuration file. Received: path='/none'"),
        (["--model=none.of.them"], "expected the path of a model folder or one of the names"),
        # What can be checked without the models is checked first.
        (["--port=9", "--grpc_port=9"], "^--port, --grpc_port: expected .* Received: 9 for both."),
        (["--port=-1", "--grpc_port=-1"], "^--port, --grpc_port: expected a port, .* Received: none."),
        (["--port=9", "--rest_api_port=9"], "^--rest_api_port, --port: expected .* Received: 9 for both."),
        (["--token_file=/none"], r"^--token_file: expected a file that can be read. Received: '/none' \(No such file"),
        (["--token_file="], r"^--token_file: expected a file that can be read. Received: '' \("),
        (["--token_file=/dev/null"], "^--token_file: expected a token of 16 or more .* Received: characters=0"),
        (["--tls_certificate=/none"], "^--tls_certificate: expected a file that can be read. Received: '/none'"),
        (["--tls_certificate=", "--tls_key="], "^--tls_certificate: expected a file that can be read. Received: ''"),
        (["--tls_key=/dev/null"], "^--tls_certificate, --tls_key: expected a `certificate` and a `key`. Received: "),
        (["--tls_key=/dev/null", "--tls_certificate=/dev/null"], "^--tls_certificate, --tls_key: expected PEM files"),
        (["--cors_origins=example.org"], "^--cors_origins: expected an origin such as .* Received: origin='example"),
        (["--cors_origins=https://a.org", "--rest_api_enable_cors_support"], "^--cors_origins: expected none beside"),
    ],
)
def test_flags_that_do_not_fit(start, arguments, words):
    with pytest.raises(ValueError, match=words):
        start(*arguments)


@pytest.mark.parametrize(
    "argument", ["max_rows=0", "rest_api_port=-1", "rest_api_timeout_in_ms=-1", "tensorflow_session_parallelism=-1"]
)
def test_numbers_out_of_range_are_refused(start, argument):
    with pytest.raises(flags.Error):
        start("--model=a", f"--{argument}")


# TensorFlow Serving's flags

THEIRS = """
port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms rest_api_enable_cors_support
enable_batching allow_version_labels_for_unavailable_models batching_parameters_file
enable_per_model_batching_parameters model_config_file model_config_file_poll_wait_seconds model_name model_base_path
num_load_threads num_unload_threads max_num_load_retries load_retry_interval_micros file_system_poll_wait_seconds
flush_filesystem_caches tensorflow_session_parallelism tensorflow_session_config_file tensorflow_intra_op_parallelism
tensorflow_inter_op_parallelism use_alts_credentials ssl_config_file platform_config_file
per_process_gpu_memory_fraction saved_model_tags grpc_channel_arguments grpc_max_threads enable_model_warmup
num_request_iterations_for_warmup monitoring_config_file remove_unused_fields_from_bundle_metagraph
prefer_tflite_model num_tflite_pools num_tflite_interpreters_per_pool enable_signature_method_name_check
xla_cpu_compilation_enabled xla_gpu_compilation_enabled enable_profiler thread_pool_factory_config_file mixed_precision
skip_initialize_tpu enable_grpc_healthcheck_service enable_serialization_as_tensor_content
""".split()
SWITCHES = ("allow_", "enable_", "flush_", "remove_", "prefer_", "xla_", "skip_", "use_", "rest_api_enable")
REFUSED = """
grpc_socket_path enable_per_model_batching_parameters use_alts_credentials prefer_tflite_model num_tflite_pools
num_tflite_interpreters_per_pool mixed_precision tensorflow_session_config_file ssl_config_file platform_config_file
""".split()


@pytest.mark.parametrize("name", THEIRS)
def test_every_flag_of_tensorflow_serving_is_taken_or_refused_by_name(start, deployed, tmp_path, monkeypatch, name):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (tmp_path / "batching.config").write_text("")
    values = {
        "port": "8500",
        "model_base_path": deployed / "half",
        "model_config_file": deployed / "models.config",
        "monitoring_config_file": deployed / "monitoring.config",
        "batching_parameters_file": tmp_path / "batching.config",
        "saved_model_tags": "serve",
    }
    arguments = {"model_base_path": values["model_base_path"], "rest_api_port": "8501"}
    arguments[name] = "true" if name.startswith(SWITCHES) else values.get(name, "1")
    given = [f"--{key}={value}" for key, value in arguments.items()]
    if name in REFUSED:
        with pytest.raises(ValueError, match=f"^--{name}: expected .*; .*Received: "):
            start(*given)
    else:
        made = start(*given)
        assert (made["port"], made["grpc_port"]) == (1 if name == "rest_api_port" else 8501, 8500)


def test_a_command_line_of_tensorflow_serving(start, deployed):
    folder = deployed / "half"
    made = start(
        "--port=9000",
        "--rest_api_port=8080",
        "--model_name=m",
        f"--model_base_path={folder}",
        "--rest_api_timeout_in_ms=60500",
        "--enable_batching",
        "--file_system_poll_wait_seconds=3",
        "--rest_api_enable_cors_support",
    )
    assert made["models"] == [repository.Model("m", folder)]
    assert (made["port"], made["grpc_port"], made["poll_seconds"]) == (8080, 9000, 3.0)
    assert (made["bounds"].answer_seconds, made["allowed"].origins) == (60.5, ("*",))
    made = start(f"--model_base_path={folder}")
    assert (made["models"][0].name, made["port"], made["grpc_port"]) == ("default", None, 8500)
    made = start(f"--model_base_path={folder}", "--port=0", "--rest_api_port=1", "--file_system_poll_wait_seconds=-1")
    assert (made["port"], made["grpc_port"], made["poll_seconds"]) == (1, None, None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"intra": "1", "inter": "8"}),
        ({"session": 3}, {"intra": "3", "inter": "3"}),
        ({"session": 3, "intra_op": 2}, {"intra": "2", "inter": "3"}),
        ({"intra_op": 0}, {"inter": "8"}),
    ],
)
def test_numbers_of_threads(start, deployed, monkeypatch, given, expected):
    names = {part: f"TF_NUM_{part.upper()}OP_THREADS" for part in ("intra", "inter")}
    monkeypatch.setattr(os, "environ", {**os.environ, names["intra"]: "1", names["inter"]: "8"})
    start(f"--model={deployed / 'half'}", *(f"--tensorflow_{part}_parallelism={n}" for part, n in given.items()))
    assert {part: os.environ[name] for part, name in names.items() if name in os.environ} == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model=half", "--rest_api_port=1", "--grpc_port=2"], "^--grpc_port: expected --port for gRPC"),
        (["--model_config_file=models.config", "--port=1"], "^--port: expected --rest_api_port beside it"),
        (["--model_name=m", "--model=half"], "^--model_name: expected --model_base_path, too"),
        (["--model_base_path=/none"], "^--model_base_path: expected a folder of versions"),
        (["--model=half", "--noenable_batching"], "^--enable_batching: expected true; requests are always batched"),
        (["--model=half", "--saved_model_tags=a"], "^--saved_model_tags: expected serve; "),
    ],
)
def test_flags_of_tensorflow_serving_that_do_not_fit(start, arguments, words):
    with pytest.raises(ValueError, match=words):
        start(*arguments)


def test_flags_without_effect_are_named(start, deployed, log, monkeypatch):
    monkeypatch.setattr(sys, "stderr", log)
    start(f"--model={deployed / 'half'}", "--grpc_max_threads=4", "--enable_profiler")
    warned = [json.loads(line)["event"].partition(":")[0] for line in log.getvalue().splitlines()]
    assert warned == ["--enable_profiler has no effect", "--grpc_max_threads has no effect"]
