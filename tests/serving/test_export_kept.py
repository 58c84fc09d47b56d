"""SimCLR v2's features, the encoder with the first layer of its head, on the way out and back."""

import functools

import numpy as np
import tensorflow as tf
from keras import ops

from zoo.hub import pretrained
from zoo.methods import method as methods
from zoo.methods import simclr
from zoo.models import architecture, convnet, heads
from zoo.serving import export

CARD = {
    "name": "simclr_convnet_digits.v2",
    "description": "A test.",
    "license": {"code": "a", "weights": "b", "data": "c"},
    "citation": "",
}


def test_kept_layers_are_exported_and_loaded(tmp_path):
    method = simclr.SimCLR(
        functools.partial(convnet.convnet, widths=(4, 8), mean=0.3),
        lambda width: heads.projector(width, (16, 16, 4)),
        temperature=0.2,
        kept_layers=1,
    )
    method.begin(methods.Spec(((8, 8, 1),) * 2, np.arange(30), 6))
    images = np.random.default_rng(0).random((5, 8, 8, 1), dtype="float32")
    encoder = architecture.resized(methods.encoder_named(method), (8, 8, 1))
    expected = ops.convert_to_numpy(methods.encoder_named(method)(images))
    card = export.export(encoder, tmp_path / "m", CARD, warmup=False)
    assert card["input"]["mean"] == 0.3 and card["embedding"] == 16
    np.testing.assert_allclose(pretrained.load(tmp_path / "m")(images), expected, atol=1e-6)
    served = tf.saved_model.load(str(tmp_path / "m")).signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(served["embedding"], expected, atol=1e-5)
