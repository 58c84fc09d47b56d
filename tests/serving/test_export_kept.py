"""SimCLR v2's features, the encoder with the first layer of its head, on the way out and back."""

import numpy as np
import tensorflow as tf

from zoo.hub import pretrained
from zoo.methods import simclr
from zoo.models import convnet, heads
from zoo.serving import export

CARD = {
    "name": "simclr_convnet_digits.v2",
    "description": "A test.",
    "license": {"code": "a", "weights": "b", "data": "c"},
    "citation": "",
}


def test_kept_layers_are_exported_and_loaded(tmp_path):
    method = simclr.SimCLR(
        lambda: convnet.convnet((8, 8, 1), (4, 8), mean=0.3), lambda width: heads.projector(width, (16, 16, 4)), 0.2, 1
    )
    images = np.random.default_rng(0).random((5, 8, 8, 1), dtype="float32")
    expected = method.feature_extractor()(images)
    card = export.export(method.feature_extractor(), tmp_path / "m", CARD, warmup=False)
    assert card["input"]["mean"] == 0.3 and card["embedding"] == 16
    np.testing.assert_allclose(pretrained.load(tmp_path / "m")(images), expected, atol=1e-6)
    served = tf.saved_model.load(str(tmp_path / "m")).signatures["serving_default"](images=tf.constant(images))
    np.testing.assert_allclose(served["embedding"], expected, atol=1e-5)
