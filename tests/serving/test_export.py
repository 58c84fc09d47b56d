import errno
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.hub import cards
from zoo.models import convnet, mlp
from zoo.serving import export, signatures, warmup_requests

NAME = "simclr_convnet_digits.test"
BATCHES = pytest.mark.parametrize("batch", [1, 7, 64])


def make_encoder(shape=(8, 8, 1), widths=(4, 8, 16)):
    encoder = convnet.convnet(image_shape=shape, widths=widths, mean=0.3, std=0.4)
    rng = np.random.default_rng(0)
    for variable in encoder.variables:
        variable.assign(variable + 0.1 * rng.random(variable.shape).astype("float32"))
    return encoder


def make_card(**changes):
    card = {
        "name": NAME,
        "description": "A test.",
        "training": {"method": "simclr", "data": "digits"},
        "license": {"code": "Apache-2.0", "weights": "CC0-1.0", "data": "CC-BY-4.0"},
        "citation": "",
    }
    return {**card, **changes}


def bytes_and_images(batch, shape=(8, 8, 1)):
    pixels = np.random.default_rng(1).integers(0, 256, (batch, *shape), dtype=np.uint8)
    files = [tf.io.encode_png(image).numpy() for image in pixels]
    return tf.constant(files), tf.constant(pixels.astype("float32") / 255)


@pytest.fixture(scope="module")
def encoder():
    return make_encoder()


@pytest.fixture(scope="module")
def folder(encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / NAME
    export.export(encoder, path, make_card())
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return tf.saved_model.load(str(folder))


@BATCHES
def test_every_signature_answers_what_keras_answers(encoder, loaded, batch):
    image_bytes, images = bytes_and_images(batch)
    expected = encoder(images, training=False).numpy()
    assert np.ptp(expected) > 0.1
    answers = [
        loaded.signatures["serving_default"](images=images)["embedding"],
        loaded.signatures["encode_bytes"](image_bytes=image_bytes)["embedding"],
        loaded.signatures["features"](images=images)["embedding"],
        loaded(images),
        loaded(images, training=False),
    ]
    for answer in answers:
        assert answer.dtype == tf.float32
        np.testing.assert_allclose(answer.numpy(), expected, atol=1e-5)


def test_files_and_floats_of_the_same_pixels_agree(loaded):
    image_bytes, images = bytes_and_images(7)
    # Graphs multiply by 1 / 255, NumPy divides: the last bit of a pixel would differ, and features are of any size.
    images = tf.round(images * 255) * np.float32(1 / 255)
    of_bytes = loaded.signatures["encode_bytes"](image_bytes=image_bytes)["embedding"]
    of_floats = loaded.signatures["serving_default"](images=images)["embedding"]
    np.testing.assert_allclose(of_bytes, of_floats, atol=1e-6)


@BATCHES
def test_features_are_the_maps_of_the_pyramid(encoder, loaded, batch):
    _, images = bytes_and_images(batch)
    answer = loaded.signatures["features"](images=images)
    assert set(answer) == {"P0", "P1", "P2", "embedding"}
    maps = keras.Model(encoder.input, encoder.pyramid_outputs)(images, training=False)
    for level, expected in maps.items():
        np.testing.assert_allclose(answer[level], expected, atol=1e-5)
    np.testing.assert_allclose(tf.reduce_mean(answer["P2"], (1, 2)), answer["embedding"], atol=1e-5)


@BATCHES
def test_keras_reads_the_saved_model_as_a_layer(encoder, folder, batch):
    _, images = bytes_and_images(batch)
    expected = encoder(images, training=False)
    layer = keras.layers.TFSMLayer(folder, call_endpoint="serving_default")
    np.testing.assert_allclose(layer(images)["embedding"], expected, atol=1e-5)
    layer = keras.layers.TFSMLayer(folder, call_endpoint="features")
    np.testing.assert_allclose(layer(images)["embedding"], expected, atol=1e-5)


def test_the_same_folder_loads_as_a_keras_model(encoder, folder):
    _, images = bytes_and_images(3)
    np.testing.assert_array_equal(zoo.load(folder)(images, training=False), encoder(images, training=False))


@pytest.mark.parametrize(
    "images",
    [
        np.full((2, 8, 8, 1), 255.0),
        np.full((1, 8, 8, 1), np.nan),
        np.full((1, 8, 8, 1), -2.1),
        np.full((1, 8, 8, 1), np.inf),
    ],
    ids=["255", "nan", "standardised", "inf"],
)
def test_images_of_another_range_are_refused(loaded, images):
    images = tf.constant(images, tf.float32)
    calls = [
        lambda: loaded.signatures["serving_default"](images=images),
        lambda: loaded.signatures["features"](images=images),
        lambda: loaded(images, training=True),
    ]
    for call in calls:
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected images in \[0, 1\]\. Received: max="):
            call()


def test_one_pixel_is_enough_to_refuse_a_batch(loaded):
    images = np.random.default_rng(0).random((7, 8, 8, 1), dtype="float32")
    images[6, 7, 7, 0] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected images in \[0, 1\]"):
        loaded.signatures["serving_default"](images=tf.constant(images))


def test_the_saved_model_can_be_fine_tuned(encoder, folder):
    """The training step of the loaded object is the training step of the Keras model."""
    loaded, model = tf.saved_model.load(str(folder)), zoo.load(folder)
    _, images = bytes_and_images(16)
    assert len(loaded.variables) == len(model.variables)
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    assert list(loaded.regularization_losses) == []
    tunes = ((loaded, loaded.trainable_variables), (model, [v.value for v in model.trainable_variables]))
    for network, variables in tunes:
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(network(images, training=True) - 1))
            gradients = tape.gradient(loss, variables)
            assert all(gradient is not None for gradient in gradients)
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.assign_sub(0.1 * gradient)
    for mine, theirs in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-5)
    # Moving statistics moved: training mode reached batch norm.
    moved = [np.abs(a.numpy() - b.numpy()).max() for a, b in zip(loaded.variables, encoder.variables, strict=True)]
    assert min(moved) > 0


def test_variables_are_stored_once(encoder, folder):
    stored = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    shapes = stored.get_variable_to_shape_map()
    count = sum(int(np.prod(shape)) for name, shape in shapes.items() if name.endswith("VARIABLE_VALUE"))
    assert count == encoder.count_params()


def test_the_card_says_what_the_encoder_is(encoder, folder):
    card = cards.opened(folder)
    assert card["architecture"] == encoder.architecture
    assert card["embedding"] == 16
    assert card["features"] == {"P0": [8, 8, 4], "P1": [4, 4, 8], "P2": [2, 2, 16]}
    expected = {"shape": [8, 8, 1], "range": [0, 1], "mean": 0.3, "std": 0.4, "color_space": "gray"}
    expected |= {"interpolation": "bilinear", "antialias": True, "crop": "center"}
    assert card["input"] == expected
    assert card["training"] == {"method": "simclr", "data": "digits"}
    assert card["files"] == cards.contents(folder)
    assert {"saved_model.pb", cards.WEIGHTS, warmup_requests.PLACE} <= set(card["files"])


def test_a_folder_is_readable_by_others(folder):
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_perceptron_has_no_maps(tmp_path):
    encoder = mlp.mlp(image_shape=(8, 8, 1), widths=(6,))
    card = export.export(encoder, tmp_path / "m", make_card(), warmup=False)
    assert card["features"] == {}
    _, images = bytes_and_images(2)
    answer = tf.saved_model.load(str(tmp_path / "m")).signatures["features"](images=images)
    assert set(answer) == {"embedding"}
    np.testing.assert_allclose(answer["embedding"], encoder(images, training=False), atol=1e-5)


@pytest.fixture(scope="module")
def perceptron():
    return mlp.mlp(image_shape=(4, 4, 1), widths=(3,))


@pytest.fixture(scope="module")
def first(perceptron, tmp_path_factory):
    path = tmp_path_factory.mktemp("first") / "model"
    export.export(perceptron, path, make_card(description="first"), warmup=False)
    return path


@pytest.fixture
def place(first, tmp_path):
    return pathlib.Path(shutil.copytree(first, tmp_path / "model"))


def test_an_existing_folder_is_kept_unless_told_otherwise(perceptron, place):
    with pytest.raises(ValueError, match="expected a new folder, or overwrite=True"):
        export.export(perceptron, place, make_card(description="second"))
    assert cards.opened(place)["description"] == "first"
    export.export(perceptron, place, make_card(description="second"), warmup=False, overwrite=True)
    assert cards.opened(place)["description"] == "second"
    assert [path.name for path in place.parent.iterdir()] == ["model"]


def test_only_model_folders_are_overwritten(encoder, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match="expected to overwrite a model folder"):
        export.export(encoder, tmp_path / "home", make_card(), overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years"
    with pytest.raises(ValueError, match="not a file"):
        export.export(encoder, tmp_path / "home" / "thesis.txt", make_card(), overwrite=True)


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "name", "failure"),
    [
        (signatures, "endpoints", interrupted),
        (tf.saved_model, "save", full_disk),
        (warmup_requests, "write", full_disk),
        (cards, "contents", interrupted),
        (cards, "write", full_disk),
    ],
    ids=["trace", "save", "warmup", "hash", "card"],
)
def test_a_failed_export_leaves_things_as_they_were(where, name, failure, perceptron, place, monkeypatch):
    before = cards.contents(place)
    monkeypatch.setattr(where, name, failure)
    for folder in (place.with_name("new"), place):
        with pytest.raises((OSError, KeyboardInterrupt)):
            export.export(perceptron, folder, make_card(description="later"), overwrite=True)
    monkeypatch.undo()
    assert [path.name for path in place.parent.iterdir()] == ["model"]
    assert cards.opened(place)["description"] == "first"
    assert cards.contents(place) == before


def test_a_failed_swap_puts_the_earlier_folder_back(perceptron, place, monkeypatch):
    rename, calls = os.rename, []

    def second_fails(source, target):
        calls.append(target)
        if len(calls) == 2:
            full_disk()
        rename(source, target)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(OSError, match="No space left"):
        export.export(perceptron, place, make_card(description="later"), warmup=False, overwrite=True)
    monkeypatch.undo()
    assert len(calls) == 3
    assert [path.name for path in place.parent.iterdir()] == ["model"]
    assert cards.opened(place)["description"] == "first"


def test_what_cannot_be_exported_is_refused_before_anything_is_written(tmp_path):
    plain = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    refused = [
        (plain, make_card(), "factory of zoo.models"),
        (convnet.convnet(image_shape=(8, 8, 1), widths=(4,), pooling=None), make_card(), "pooled features"),
        (convnet.convnet(image_shape=(None, None, 1), widths=(4,)), make_card(), "fixed input shape"),
        (make_encoder(), make_card(name="No Name"), "name='No Name'"),
        (make_encoder(), make_card(input={"mean": 0.5}), r"input\.mean=0\.3"),
        (make_encoder(), make_card(input={"interpolation": "cubic"}), "interpolation='cubic'"),
        (make_encoder(), make_card(embedding=3), "embedding"),
        (make_encoder(), make_card(trainng={}), "Did you mean 'training'"),
    ]
    for encoder, card, message in refused:
        with pytest.raises(ValueError, match=message):
            export.export(encoder, tmp_path / "m", card)
    assert not list(tmp_path.iterdir())
