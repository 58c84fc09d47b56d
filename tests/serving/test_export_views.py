"""CMC's encoders as users get them: by name and joined, RGB in, from Keras, from a folder, from a SavedModel."""

import numpy as np
import pytest
import tensorflow as tf
from reference import presets

import zoo
from zoo.methods import method
from zoo.models import architecture, convnet, joined
from zoo.serving import export

IMAGES = np.random.default_rng(0).uniform(size=(4, *presets.SHAPE)).astype("float32")


def card(name):
    return {
        "name": name,
        "description": "A test.",
        "citation": "",
        "training": {"method": "cmc", "data": "digits", "split": "train", "epochs": 1, "seed": 0},
        "license": {"code": "Apache-2.0", "weights": "Apache-2.0", "data": "CC0-1.0"},
    }


@pytest.mark.parametrize(
    ("name", "encoder_name"),
    [("cmc", "joined"), ("cmc", "luma"), ("cmc_v2", "chroma"), ("cmc_v2", "joined"), ("moco", "image")],
)
def test_every_encoder_takes_rgb_images_wherever_it_is_loaded(name, encoder_name, tmp_path):
    encoder = architecture.resized(method.encoder_named(presets.begun(name), encoder_name), presets.SHAPE)
    expected = encoder(IMAGES).numpy()
    folder = tmp_path / f"cmc_convnet_digits.{encoder_name}"
    written = export.export(encoder, folder, card(folder.name), warmup=False)
    assert written["input"]["shape"] == [8, 8, 3] and written["input"]["color_space"] == "rgb"
    assert written["embedding"] == (16 if encoder_name == "joined" else 8)
    np.testing.assert_allclose(zoo.load(str(folder))(IMAGES), expected, atol=1e-5)
    served = tf.saved_model.load(str(folder))
    np.testing.assert_allclose(served.signatures["serving_default"](images=IMAGES)["embedding"], expected, atol=1e-5)
    png = tf.io.encode_png(tf.cast(tf.round(IMAGES[0] * 255), tf.uint8))
    bytes_in = served.signatures["encode_bytes"](image_bytes=png[None])["embedding"]
    np.testing.assert_allclose(bytes_in, encoder(np.round(IMAGES[:1] * 255) / 255), atol=1e-5)
    assert zoo.load(str(folder), input_shape=(16, 16, 3)).input_shape == (None, 16, 16, 3)


@pytest.mark.parametrize(
    ("ways", "expected"),
    [
        (({"mean": 0.3, "std": 0.2}, {"mean": 0.3, "std": 0.2}), (0.3, 0.2)),
        (({"mean": 0.3, "std": 0.2}, {"mean": 0.4, "std": 0.2}), (0.0, 1.0)),
        (({"mean": 0.3, "std": 0.2}, {"mean": 0.3, "std": 0.2, "space": "lab"}), (0.0, 1.0)),
    ],
    ids=["alike", "apart", "converted"],
)
def test_a_card_states_mean_and_deviation_only_where_all_encoders_share_them(ways, expected, tmp_path):
    model = joined.join([convnet.convnet(presets.SHAPE, (4, 8), **way) for way in ways])
    folder = tmp_path / "cmc_convnet_digits.joined"
    written = export.export(model, folder, card(folder.name), warmup=False)["input"]
    assert (written["mean"], written["std"]) == expected
    assert zoo.load(str(folder))(IMAGES).shape == (4, 16)
