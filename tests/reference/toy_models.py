"""Tiny models that show every side of TensorFlow Serving's API, as a folder that it serves, and so does zoo-serve.

    python tests/reference/toy_models.py FOLDER

writes them and prints the command that starts the real server on them, for `tests/serving/test_conformance.py`.
"""

import pathlib
import sys

import tensorflow as tf

from zoo.models import convnet
from zoo.serving import export

IMAGE_SHAPE = (8, 8, 3)
FEATURES = 8
CONFIG = """\
model_config_list {
  config {
    name: 'half'
    base_path: '/models/half'
    model_platform: 'tensorflow'
    model_version_policy { specific { versions: 1 versions: 2 } }
    version_labels { key: 'stable' value: 1 }
    version_labels { key: 'canary' value: 2 }
  }
  config { name: 'toys' base_path: '/models/toys' model_platform: 'tensorflow' model_version_policy { all {} } }
  config { name: 'encoder' base_path: '/models/encoder' model_platform: 'tensorflow' }
}
"""
MONITORING = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }\n'
COMMAND = """\
docker run --rm -p 8500:8500 -p 8501:8501 -v {folder}:/models:ro tensorflow/serving \\
    --model_config_file=/models/models.config --monitoring_config_file=/models/monitoring.config \\
    --allow_version_labels_for_unavailable_models=true
pytest tests/serving/test_conformance.py --serving_rest=http://localhost:8501 --serving_grpc=localhost:8500
"""


class Half(tf.Module):
    """x / 2 + offset."""

    def __init__(self, offset):
        super().__init__()
        self.offset = tf.Variable(offset)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serving_default(self, x):
        return {"y": x / 2 + self.offset}


def toys():
    """Signature -> inputs by name -> outputs by name."""
    spec = tf.TensorSpec

    def function(call, **inputs):
        inputs = {name: spec(shape, dtype, name) for name, (dtype, shape) in inputs.items()}
        return tf.function(lambda **given: call(**given)).get_concrete_function(**inputs)

    row, floats = [None], tf.float32
    return {
        "pair": function(
            lambda a, b: {"sum": a + b, "dot": tf.reduce_sum(a * b, -1)}, a=(floats, [None, 2]), b=(floats, [None, 2])
        ),
        "words": function(lambda text: {"shouted": tf.strings.upper(text)}, text=(tf.string, row)),
        "files": function(
            lambda data: {"twice_bytes": tf.strings.join([data, data]), "length": tf.strings.length(data)},
            data=(tf.string, row),
        ),
        "kinds": function(
            lambda b, i, n, u, d: {"b": ~b, "i": i + 1, "n": n + 1, "u": u + 1, "d": d * 2},
            b=(tf.bool, row),
            i=(tf.int32, row),
            n=(tf.int64, row),
            u=(tf.uint8, row),
            d=(tf.float64, row),
        ),
        "scalar": function(lambda s: {"doubled": s * 2}, s=(floats, [])),
        "matrix": function(lambda m: {"total": tf.reduce_sum(m, -1)}, m=(floats, [None, None])),
        "outer": function(lambda p, q: {"product": p[:, None] * q}, p=(floats, row), q=(floats, row)),
        "inverse": function(lambda x: {"y": 1 / x}, x=(floats, row)),
    }


def half(folder, offset):
    """Writes a version of `half`."""
    made = Half(offset)
    tf.saved_model.save(made, str(folder), signatures={"serving_default": made.serving_default})


def encoder(folder, name="encoder", **arguments):
    """Writes a real encoder, with its card and its warm-up requests."""
    card = {
        "name": name,
        "description": "A tiny encoder.",
        "license": {"code": "Apache-2.0", "weights": "CC0-1.0", "data": "none"},
        "citation": "",
    }
    return export.export(convnet.convnet(IMAGE_SHAPE, (4, FEATURES), **arguments), folder, card)


def write(folder):
    """Writes all models and the configuration; `encoder` as version 7, to see a number that is not the first."""
    folder = pathlib.Path(folder)
    for version, offset in ((1, 2.0), (2, 3.0)):
        half(folder / "half" / str(version), offset)
    tf.saved_model.save(tf.Module(), str(folder / "toys" / "1"), signatures=toys())
    encoder(folder / "encoder" / "7")
    (folder / "models.config").write_text(CONFIG)
    (folder / "monitoring.config").write_text(MONITORING)
    return folder


if __name__ == "__main__":
    print(COMMAND.format(folder=write(sys.argv[1]).absolute()))
