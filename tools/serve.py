"""Serves encoders over the REST and gRPC APIs of TensorFlow Serving, without its binary.

zoo-serve --model=simclr_convnet_fashion_mnist.e15                 # a published model, or a model folder
zoo-serve --model=served                                           # a serving folder, from zoo-export --serving
zoo-serve --model=exported/a --model=exported/b --port=9001 --grpc_port=9000

curl localhost:8501/v1/models/simclr_convnet_fashion_mnist.e15
curl -d '{"signature_name": "encode_bytes", "instances": [{"b64": "..."}]}' localhost:8501/v1/models/NAME:predict

It takes the command lines of TensorFlow Serving, too:

zoo-serve --port=8500 --rest_api_port=8501 --model_name=m --model_base_path=/models/m --enable_batching

With --rest_api_port or --model_base_path, --port is the port of gRPC, REST is off unless it has a port, and 0 turns a
port off. Flags of TensorFlow Serving that have no meaning here are ignored with a warning, or refused where the answers
or the access to them would differ; their help says which.

`zoo.serving.client` is a client for Python. Health checks are at /health/live and /health/ready; metrics for Prometheus
are at /monitoring/prometheus/metrics. A version folder that appears in a served folder is loaded, is warmed up and
takes over.
"""

import json
import logging
import multiprocessing
import os
import pathlib
import sys
import time

from absl import flags

from zoo import files
from zoo.tools import config

FLAGS = flags.FLAGS
# Flags of TensorFlow Serving: name -> why it has no effect.
_IGNORED = {
    "allow_version_labels_for_unavailable_models": "labels of versions that are not loaded yet are always allowed",
    "enable_profiler": "there is no profiler",
    "enable_serialization_as_tensor_content": "clients read both forms",
    "enable_signature_method_name_check": "names of methods are not looked at",
    "flush_filesystem_caches": "the operating system decides",
    "grpc_channel_arguments": "the limits of requests are flags of their own",
    "grpc_max_threads": "one thread receives all calls; see --num_batch_threads",
    "load_retry_interval_micros": "a folder is tried again when it changes",
    "max_num_load_retries": "a folder is tried again when it changes",
    "model_config_file_poll_wait_seconds": "the file is read once",
    "num_load_threads": "models are loaded one after the other",
    "num_request_iterations_for_warmup": "requests are replayed once",
    "num_unload_threads": "models are unloaded one after the other",
    "per_process_gpu_memory_fraction": "TensorFlow decides, see TF_FORCE_GPU_ALLOW_GROWTH",
    "remove_unused_fields_from_bundle_metagraph": "nothing of a graph is kept but its functions",
    "rest_api_num_threads": "one thread receives all requests; see --num_batch_threads",
    "skip_initialize_tpu": "TPUs are not used",
    "thread_pool_factory_config_file": "see --tensorflow_intra_op_parallelism",
    "xla_cpu_compilation_enabled": "graphs run as they were exported",
    "xla_gpu_compilation_enabled": "graphs run as they were exported",
}
# Flags of TensorFlow Serving: name -> the only value that is possible, and what to do instead of another.
_FIXED = {
    "enable_batching": ("true", "requests are always batched; --max_batch_size=1 never joins images"),
    "enable_grpc_healthcheck_service": ("true", "the service is always there"),
    "enable_model_warmup": ("true", "remove assets.extra/tf_serving_warmup_requests from the model"),
    "enable_per_model_batching_parameters": ("false", "use --batching_parameters_file"),
    "grpc_socket_path": ("", "use --host and --port"),
    "mixed_precision": ("", "export the model in the precision that it is to have"),
    "num_tflite_interpreters_per_pool": ("", "there is no TensorFlow Lite"),
    "num_tflite_pools": ("", "there is no TensorFlow Lite"),
    "platform_config_file": ("", "all models are SavedModels"),
    "prefer_tflite_model": ("false", "there is no TensorFlow Lite"),
    "saved_model_tags": ("serve", "export the model with this tag"),
    "ssl_config_file": ("", "use --tls_certificate and --tls_key, which encrypt both ports"),
    "tensorflow_session_config_file": ("", "use --tensorflow_intra_op_parallelism"),
    "use_alts_credentials": ("false", "use --tls_certificate and --tls_key"),
}
_SWITCHES = ("allow", "enable", "flush", "remove", "skip", "xla")  # first words of flags that are true or false
_THREADS = {"intra": "TF_NUM_INTRAOP_THREADS", "inter": "TF_NUM_INTEROP_THREADS"}
_BATCHING = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")


def define_flags():
    """Defines this program's flags."""
    flags.DEFINE_multi_string(
        "model",
        [],
        "Name of a published model, a model folder, a folder of versions, or a serving folder from zoo-export "
        "--serving; may be repeated.",
    )
    flags.DEFINE_bool(
        "trust",
        False,
        "Serve models whose graphs use files, processes or the network, too; they are executed.",
    )
    flags.DEFINE_string("model_config_file", None, "Path of a models.config of TensorFlow Serving.")
    flags.DEFINE_string("batching_parameters_file", None, "Path of a batching.config of TensorFlow Serving.")
    flags.DEFINE_string("monitoring_config_file", None, "Path of a monitoring.config of TensorFlow Serving.")
    flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 accepts other machines.")
    flags.DEFINE_integer(
        "port", 8501, "Port of the REST API; 0 picks one, -1 turns it off.", lower_bound=-1, upper_bound=65535
    )
    flags.DEFINE_integer(
        "grpc_port", 8500, "Port of the gRPC API; 0 picks one, -1 turns it off.", lower_bound=-1, upper_bound=65535
    )
    flags.DEFINE_string(
        "port_file", None, "JSON file to write, once both ports listen, with the ports and the process."
    )
    flags.DEFINE_float("poll_seconds", 1.0, "Seconds between checks for new versions; 0 never checks.", lower_bound=0)
    flags.DEFINE_integer("max_batch_size", None, "Maximum number of images per call of a model.", lower_bound=1)
    flags.DEFINE_integer(
        "batch_timeout_micros", None, "Microseconds that a partial batch waits for more images.", lower_bound=0
    )
    flags.DEFINE_integer(
        "max_enqueued_batches", None, "Maximum number of full batches that wait for each signature.", lower_bound=1
    )
    flags.DEFINE_integer("num_batch_threads", None, "Number of concurrent calls of models.", lower_bound=1)
    flags.DEFINE_float("max_body_mb", 64, "Maximum size of a request body in megabytes.", lower_bound=0.001)
    flags.DEFINE_float("max_in_flight_mb", 512, "Maximum size of all requests in flight in MB.", lower_bound=0.001)
    flags.DEFINE_integer("max_rows", 1024, "Maximum number of images per request.", lower_bound=1)
    flags.DEFINE_integer("max_pixels", 25_000_000, "Maximum number of pixels of an image file.", lower_bound=1)
    flags.DEFINE_float("read_seconds", 30, "Seconds to wait for a request body.", lower_bound=0.001)
    flags.DEFINE_float("header_seconds", 30, "Seconds to keep an idle connection.", lower_bound=0.001)
    flags.DEFINE_float("answer_seconds", 60, "Seconds to answer a request.", lower_bound=0.001)
    flags.DEFINE_float(
        "drain_seconds", 30, "Seconds for the requests in flight to end after SIGTERM.", lower_bound=0.001
    )
    flags.DEFINE_string(
        "tls_certificate", None, "PEM file of a certificate and its issuers; both ports are encrypted with it."
    )
    flags.DEFINE_string("tls_key", None, "PEM file of the private key of --tls_certificate.")
    flags.DEFINE_string(
        "token_file",
        None,
        "File of a token of 16 or more characters, which requests must carry as 'Authorization: Bearer TOKEN'.",
    )
    flags.DEFINE_list(
        "cors_origins", [], "Web pages that may use the REST API, such as https://example.org; * for all of them."
    )
    flags.DEFINE_bool("log_requests", True, "Log every request, not only server errors.")
    _define_flags_of_tensorflow_serving()


def _define_flags_of_tensorflow_serving():
    for name, kind, meaning, *bounds in (
        (
            "rest_api_port",
            flags.DEFINE_integer,
            "port of the REST API, 0 for none; --port is then that of gRPC.",
            0,
            65535,
        ),
        ("model_name", flags.DEFINE_string, "name of the model in --model_base_path, 'default' by default."),
        ("model_base_path", flags.DEFINE_string, "folder of the versions of a model."),
        ("rest_api_timeout_in_ms", flags.DEFINE_integer, "--answer_seconds in milliseconds.", 0),
        ("rest_api_enable_cors_support", flags.DEFINE_bool, "--cors_origins=*."),
        ("file_system_poll_wait_seconds", flags.DEFINE_integer, "--poll_seconds."),
        ("tensorflow_session_parallelism", flags.DEFINE_integer, "both of the following.", 0),
        ("tensorflow_intra_op_parallelism", flags.DEFINE_integer, "threads of an operation; 1 by default, 0: all.", 0),
        (
            "tensorflow_inter_op_parallelism",
            flags.DEFINE_integer,
            "operations at a time; 4 for each CPU by default, 0: as many as CPUs.",
            0,
        ),
    ):
        kind(name, None, f"As in TensorFlow Serving: {meaning}", *bounds)
    for name, reason in _IGNORED.items():
        define = flags.DEFINE_bool if name.split("_")[0] in _SWITCHES else flags.DEFINE_string
        define(name, None, f"Flag of TensorFlow Serving without effect here: {reason}.")
    for name, (value, instead) in _FIXED.items():
        define = flags.DEFINE_bool if value in ("true", "false") else flags.DEFINE_string
        define(name, None, f"Flag of TensorFlow Serving, refused but for {value or 'no value'}: {instead}.")


def _ignored():
    """Returns what to warn of among the flags of TensorFlow Serving; ValueError where one cannot be as it is."""
    for name, (value, instead) in _FIXED.items():
        given = FLAGS[name].value
        if given is not None and str(given).lower() != value:
            raise ValueError(f"--{name}: expected {value or 'no value'}; {instead}. Received: {given}.")
    return [f"--{name} has no effect: {reason}" for name, reason in _IGNORED.items() if FLAGS[name].present]


def _ports():
    """Returns the ports of REST and gRPC, None for none; ValueError where both are none, or the same."""
    port, grpc_port, names = _named_ports()
    if port == grpc_port != 0:
        received = "none" if port is None else f"{port} for both"
        raise ValueError(f"{names}: expected a port, or two that differ. Received: {received}.")
    return port, grpc_port


def _named_ports():
    """Returns the ports of REST and gRPC, and their flags, by TensorFlow Serving's meaning of --port if it is meant."""
    if FLAGS.rest_api_port is None and FLAGS.model_base_path is None:
        if FLAGS.model_config_file and FLAGS["port"].present and not FLAGS["grpc_port"].present:
            expected = "--rest_api_port beside it, and it is the port of gRPC, or --grpc_port, and it is that of REST"
            raise ValueError(f"--port: expected {expected}. Received: {FLAGS.port}.")
        port, grpc_port = (None if number < 0 else number for number in (FLAGS.port, FLAGS.grpc_port))
        return port, grpc_port, "--port, --grpc_port"
    if FLAGS["grpc_port"].present:
        expected = "--port for gRPC, as in TensorFlow Serving, beside --rest_api_port or --model_base_path"
        raise ValueError(f"--grpc_port: expected {expected}. Received: {FLAGS.grpc_port}.")
    grpc_port = FLAGS.port if FLAGS["port"].present else FLAGS.grpc_port
    return FLAGS.rest_api_port or None, None if grpc_port <= 0 else grpc_port, "--rest_api_port, --port"


def _models(repository):
    """Returns the models to serve."""
    if FLAGS.model_name and not FLAGS.model_base_path:
        raise ValueError(f"--model_name: expected --model_base_path, too. Received: {FLAGS.model_name}.")
    if not FLAGS.model and not FLAGS.model_config_file and not FLAGS.model_base_path:
        raise ValueError("--model: expected the name of a published model or a folder, see --help. Received: none.")
    models = [model for name in FLAGS.model for model in repository.named(name)]
    if FLAGS.model_config_file:
        models += repository.configured(FLAGS.model_config_file)
    if FLAGS.model_base_path:
        folder = pathlib.Path(FLAGS.model_base_path).expanduser().absolute()
        if not folder.is_dir():
            raise ValueError(f"--model_base_path: expected a folder of versions. Received: {FLAGS.model_base_path}.")
        models.append(repository.Model(FLAGS.model_name or "default", folder))
    return models


def _use_threads():
    """Sets the numbers of threads that TensorFlow will start with."""
    for part, variable in _THREADS.items():
        number = FLAGS[f"tensorflow_{part}_op_parallelism"].value
        number = FLAGS.tensorflow_session_parallelism if number is None else number
        if number:
            os.environ[variable] = str(number)
        elif number == 0:
            os.environ.pop(variable, None)


def _settings(flag, name):
    """Returns the configuration file of a flag, else the one next to the models, else None."""
    if FLAGS[flag].value is not None:
        return FLAGS[flag].value
    places = [pathlib.Path(model).expanduser() for model in FLAGS.model]
    places += [pathlib.Path(FLAGS.model_config_file).parent] if FLAGS.model_config_file else []
    return next((place / name for place in places if (place / name).is_file()), None)


def _batching(batching, deployment, repository, messages_pb2):
    """Returns the batcher's settings, from the file and then from the flags."""
    found = {"num_batch_threads": multiprocessing.cpu_count()}
    path = _settings("batching_parameters_file", deployment.BATCHING)
    if path is not None:
        read = repository.read_text(path, messages_pb2.BatchingParameters)
        found |= {name: getattr(read, name).value for name in _BATCHING if read.HasField(name)}
    return batching.Batching(**found | {name: FLAGS[name].value for name in _BATCHING if FLAGS[name].value is not None})


def _access(access):
    """Returns who may ask the server; ValueError names the flag that does not fit."""
    texts = {name: _text(name) for name in ("tls_certificate", "tls_key", "token_file")}
    certificate, key = (
        None if texts[name] is None else pathlib.Path(FLAGS[name].value).expanduser()
        for name in ("tls_certificate", "tls_key")
    )
    if FLAGS.rest_api_enable_cors_support and FLAGS.cors_origins:
        expected = "none beside --rest_api_enable_cors_support, which lets all web pages use the API"
        raise ValueError(f"--cors_origins: expected {expected}. Received: {','.join(FLAGS.cors_origins)}.")
    origins = ["*"] if FLAGS.rest_api_enable_cors_support else FLAGS.cors_origins
    fields = {
        "--tls_certificate, --tls_key": {"certificate": certificate, "key": key},
        "--token_file": {"token": None if texts["token_file"] is None else texts["token_file"].strip()},
        "--cors_origins": {"origins": tuple(origins)},
    }
    try:
        return access.Access(**{name: value for given in fields.values() for name, value in given.items()})
    except ValueError:
        for flag, given in fields.items():
            try:
                access.Access(**given)
            except ValueError as error:
                raise ValueError(f"{flag}: {str(error).partition(': ')[2]}") from error
        raise


def _text(flag):
    """Returns the text of the file of a flag, None for none; an empty path is an error, not none."""
    path = FLAGS[flag].value
    try:
        return None if path is None else pathlib.Path(path).expanduser().read_text(errors="replace")
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"--{flag}: expected a file that can be read. Received: {path!r} ({reason}).") from error


class JsonLines(logging.Formatter):
    """Formats a record as a line of JSON: time, level, event, and the fields of `extra={"fields": {...}}`."""

    def format(self, record):
        """Returns the line of a record."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to(stream=None, requests=True):
    """Writes the server's events as lines of JSON.

    Args:
        stream: where to write; standard error by default.
        requests: whether to write a line for every request, not only for what goes wrong.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(lambda record: requests or record.getMessage() != "request")
    for name, level in (("zoo.serving", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def main(argv):
    """Serves until it is asked to stop."""
    del argv
    # TensorFlow would log every request that a model refuses.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from zoo.engine import graphs
    from zoo.serving import access, batching, deployment, limits, messages_pb2, metrics, repository, server

    warnings, (port, grpc_port), allowed = _ignored(), _ports(), _access(access)
    _use_threads()
    if FLAGS.trust:
        graphs.trust("/")
    models = _models(repository)
    path, monitoring = metrics.PATH, _settings("monitoring_config_file", deployment.MONITORING)
    if monitoring is not None:
        prometheus = repository.read_text(monitoring, messages_pb2.MonitoringConfig).prometheus_config
        path = (prometheus.path or metrics.PATH) if prometheus.enable else None
    poll_seconds = FLAGS.file_system_poll_wait_seconds
    poll_seconds = FLAGS.poll_seconds if poll_seconds is None else float(poll_seconds)
    bounds = limits.Limits(
        body_bytes=int(FLAGS.max_body_mb * (1 << 20)),
        in_flight_bytes=int(FLAGS.max_in_flight_mb * (1 << 20)),
        rows=FLAGS.max_rows,
        pixels=FLAGS.max_pixels,
        request_pixels=10 * FLAGS.max_pixels,
        read_seconds=FLAGS.read_seconds,
        header_seconds=FLAGS.header_seconds,
        answer_seconds=(FLAGS.rest_api_timeout_in_ms or FLAGS.answer_seconds * 1000) / 1000,
        drain_seconds=FLAGS.drain_seconds,
    )
    log_to(requests=FLAGS.log_requests)
    for warning in warnings:
        logging.getLogger("zoo.serving").warning(warning)
    # A small request needs the interpreter some ten times; each time it waits this long for a thread with a large one.
    sys.setswitchinterval(5e-4)
    made = server.Server(
        models,
        FLAGS.host,
        port,
        grpc_port,
        _batching(batching, deployment, repository, messages_pb2),
        bounds,
        poll_seconds if poll_seconds > 0 else None,
        path,
        allowed,
    )
    made.run(_write)
    return 0


def _write(ports):
    """Writes where the server listens, in one step, so that whoever waits for the file finds it complete."""
    if FLAGS.port_file:
        files.write(FLAGS.port_file, json.dumps({**ports, "pid": os.getpid()}) + "\n")


def cli():
    """Runs the program `zoo-serve`."""
    # Operations share the threads into which they are split: those of a large image would keep them from all others for
    # a third of a second. So each runs in a single one, as many at a time as there may be requests.
    os.environ.setdefault(_THREADS["intra"], "1")
    os.environ.setdefault(_THREADS["inter"], str(4 * multiprocessing.cpu_count()))
    define_flags()
    try:
        config.launch(main)
    except SystemExit as end:
        # The interpreter would wait for calls of models that were not drained in time.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


if __name__ == "__main__":
    cli()
