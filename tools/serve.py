"""Serves encoders: features over REST and gRPC, as TensorFlow Serving does it, on a machine without its binary.

zoo-serve --model=simclr_convnet_fashion_mnist.e15                 # a published model, or a model folder
zoo-serve --model=served                                           # what zoo-export --serving wrote
zoo-serve --model=exported/a --model=exported/b --port=9001 --grpc_port=9000

curl localhost:8501/v1/models/simclr_convnet_fashion_mnist.e15
curl -d '{"signature_name": "encode_bytes", "instances": [{"b64": "..."}]}' localhost:8501/v1/models/NAME:predict

`zoo.serving.client` is a client of a few lines. Health: /health/live and /health/ready. Metrics for Prometheus:
/monitoring/prometheus/metrics. A version folder that appears in a served folder is loaded, warmed and swapped in.
"""

import json
import logging
import multiprocessing
import os
import pathlib
import sys

from absl import flags

from zoo import files
from zoo.tools import config

FLAGS = flags.FLAGS
_BATCHING = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")


def define_flags():
    """Defines this program's flags."""
    flags.DEFINE_multi_string(
        "model",
        [],
        "A published name, a model folder, a folder of versions, or what zoo-export --serving wrote; may be given "
        "several times.",
    )
    flags.DEFINE_string("model_config_file", None, "A models.config of TensorFlow Serving.")
    flags.DEFINE_string("batching_parameters_file", None, "A batching.config of TensorFlow Serving.")
    flags.DEFINE_string("monitoring_config_file", None, "A monitoring.config of TensorFlow Serving.")
    flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 lets other machines in.")
    flags.DEFINE_integer("port", 8501, "Port of REST; 0: any free one, -1: none.", lower_bound=-1, upper_bound=65535)
    flags.DEFINE_integer("grpc_port", 8500, "Port of gRPC; likewise.", lower_bound=-1, upper_bound=65535)
    flags.DEFINE_string("port_file", None, "A file to write when both ports listen: JSON with both and the process.")
    flags.DEFINE_float("poll_seconds", 1.0, "Seconds between looks for new versions; 0: never.", lower_bound=0)
    flags.DEFINE_integer("max_batch_size", None, "Images of one call of a model.", lower_bound=1)
    flags.DEFINE_integer("batch_timeout_micros", None, "Microseconds that images wait for others.", lower_bound=0)
    flags.DEFINE_integer("max_enqueued_batches", None, "Full batches that may wait, of each signature.", lower_bound=1)
    flags.DEFINE_integer("num_batch_threads", None, "Calls of models at one time.", lower_bound=1)
    flags.DEFINE_float("max_body_mb", 64, "Megabytes of a request.", lower_bound=0.001)
    flags.DEFINE_float("max_in_flight_mb", 512, "Megabytes of all requests that are held.", lower_bound=0.001)
    flags.DEFINE_integer("max_rows", 1024, "Images of a request.", lower_bound=1)
    flags.DEFINE_integer("max_pixels", 25_000_000, "Pixels of an image file.", lower_bound=1)
    flags.DEFINE_float("read_seconds", 30, "Until the body of a request must have come.", lower_bound=0.001)
    flags.DEFINE_float("header_seconds", 30, "That a connection may wait for a request.", lower_bound=0.001)
    flags.DEFINE_float("answer_seconds", 60, "Until a request must be answered.", lower_bound=0.001)
    flags.DEFINE_float("drain_seconds", 30, "That requests have to end after SIGTERM.", lower_bound=0.001)
    flags.DEFINE_bool("log_requests", True, "Write a line for every request, not only for what goes wrong.")


def _settings(flag, name):
    """The configuration file that a flag names, else the one beside the models, else None."""
    if FLAGS[flag].value is not None:
        return FLAGS[flag].value
    places = [pathlib.Path(model).expanduser() for model in FLAGS.model]
    places += [pathlib.Path(FLAGS.model_config_file).parent] if FLAGS.model_config_file else []
    return next((place / name for place in places if (place / name).is_file()), None)


def _batching(batching, deployment, repository, messages_pb2):
    """The batcher's settings: of the file, then of the flags."""
    found = {"num_batch_threads": multiprocessing.cpu_count()}
    path = _settings("batching_parameters_file", deployment.BATCHING)
    if path is not None:
        read = repository.read_text(path, messages_pb2.BatchingParameters)
        found |= {name: getattr(read, name).value for name in _BATCHING if read.HasField(name)}
    return batching.Batching(**found | {name: FLAGS[name].value for name in _BATCHING if FLAGS[name].value is not None})


def main(argv):
    """Serves until it is asked to stop."""
    del argv
    # TensorFlow would tell of every request that a model refuses, in words of its own.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from zoo.serving import batching, deployment, limits, messages_pb2, metrics, repository, server

    if not FLAGS.model and not FLAGS.model_config_file:
        raise ValueError("--model: expected a published name or a folder, see --help. Received: none.")
    models = [each for name in FLAGS.model for each in repository.named(name)]
    if FLAGS.model_config_file:
        models += repository.configured(FLAGS.model_config_file)
    path, monitoring = metrics.PATH, _settings("monitoring_config_file", deployment.MONITORING)
    if monitoring is not None:
        prometheus = repository.read_text(monitoring, messages_pb2.MonitoringConfig).prometheus_config
        path = (prometheus.path or metrics.PATH) if prometheus.enable else None
    bounds = limits.Limits(
        body_bytes=int(FLAGS.max_body_mb * (1 << 20)),
        in_flight_bytes=int(FLAGS.max_in_flight_mb * (1 << 20)),
        rows=FLAGS.max_rows,
        pixels=FLAGS.max_pixels,
        request_pixels=10 * FLAGS.max_pixels,
        read_seconds=FLAGS.read_seconds,
        header_seconds=FLAGS.header_seconds,
        answer_seconds=FLAGS.answer_seconds,
        drain_seconds=FLAGS.drain_seconds,
    )
    server.log_to(requests=FLAGS.log_requests)
    made = server.Server(
        models,
        FLAGS.host,
        None if FLAGS.port < 0 else FLAGS.port,
        None if FLAGS.grpc_port < 0 else FLAGS.grpc_port,
        _batching(batching, deployment, repository, messages_pb2),
        bounds,
        FLAGS.poll_seconds or None,
        path,
    )
    made.run(lambda ports: _write(ports))
    return 0


def _write(ports):
    """Writes where the server listens, in one step: whoever waits for the file finds it whole."""
    if FLAGS.port_file:
        files.write(FLAGS.port_file, json.dumps({**ports, "pid": os.getpid()}) + "\n")


def cli():
    """The program `zoo-serve`."""
    define_flags()
    try:
        config.launch(main)
    except SystemExit as end:
        # What still runs in threads has had its time; the interpreter would wait for it.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


if __name__ == "__main__":
    cli()
