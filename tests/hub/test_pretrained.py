import collections
import pathlib
import sys
import warnings

import keras
import numpy as np
import pytest

import zoo
from zoo.hub import cards
from zoo.models import convnet, mlp, resnet

NAME = "simclr_convnet_digits.test"


def publish(folder, encoder):
    """A model folder without its SavedModel: what `zoo.load` reads."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    # Moving statistics too: a model that forgot them would go unnoticed at their initial values.
    for variable in encoder.variables:
        variable.assign(variable + 0.1 * rng.random(variable.shape).astype("float32"))
    encoder.save_weights(folder / "encoder.weights.h5")
    shape = list(encoder.input_shape[1:])
    card = {
        "card_version": 1,
        "name": folder.name,
        "description": "A test.",
        "architecture": encoder.architecture,
        "embedding": encoder.output_shape[-1],
        "features": {},
        "input": {
            "shape": shape,
            "range": [0, 1],
            "mean": encoder.architecture["arguments"]["mean"],
            "std": encoder.architecture["arguments"]["std"],
            "color_space": "gray" if shape[-1] == 1 else "rgb",
            "interpolation": "bilinear",
            "antialias": True,
            "crop": "center",
        },
        "training": {},
        "results": [],
        "files": cards.contents(folder),
        "license": {"code": "a", "weights": "b", "data": "c"},
        "citation": "",
    }
    cards.write(card, folder)
    return encoder


def images(*shape):
    return np.random.default_rng(1).random(shape, dtype="float32")


def outputs(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def encoder(root):
    made = convnet.convnet(image_shape=(8, 8, 1), widths=(4, 8, 16), mean=0.3, std=0.4)
    return publish(root / NAME, made)


@pytest.fixture(autouse=True)
def models(root, encoder, monkeypatch):
    monkeypatch.setenv("ZOO_MODELS", str(root))


def test_loaded_features_are_those_of_the_encoder(encoder, root):
    x = images(5, 8, 8, 1)
    for model in (zoo.load(NAME), zoo.load(root / NAME), zoo.load(str(root / NAME))):
        assert type(model) is type(encoder)  # Keras' own functional model, no subclass
        np.testing.assert_array_equal(outputs(model, x), outputs(encoder, x))
    assert model.architecture == encoder.architecture
    assert list(model.pyramid_outputs) == ["P0", "P1", "P2"]


@pytest.mark.parametrize(
    "build",
    [
        lambda: mlp.mlp(image_shape=(8, 8, 1), widths=(6, 5)),
        lambda: resnet.resnet18(image_shape=(32, 32, 3), width=0.0625, stem="small"),
    ],
    ids=["mlp", "resnet18"],
)
def test_every_kind_of_encoder_comes_back(build, root, request):
    name = f"simclr_{request.node.callspec.id}_test.a"
    encoder = publish(root / name, build())
    x = images(2, *encoder.input_shape[1:])
    np.testing.assert_array_equal(outputs(zoo.load(name), x), outputs(encoder, x))


def test_pooling_is_of_the_map(encoder):
    x = images(3, 8, 8, 1)
    maps = outputs(zoo.load(NAME, pooling=None), x)
    assert maps.shape == (3, 2, 2, 16)
    np.testing.assert_allclose(maps.mean((1, 2)), outputs(zoo.load(NAME, pooling="avg"), x), atol=1e-6)
    np.testing.assert_allclose(maps.max((1, 2)), outputs(zoo.load(NAME, pooling="max"), x), atol=1e-6)


def test_another_size_keeps_the_weights(encoder):
    model = zoo.load(NAME, input_shape=(16, 12, 1), pooling=None)
    assert model.input_shape == (None, 16, 12, 1)
    x = images(1, 16, 12, 1)
    assert outputs(model, x).shape == (1, 4, 3, 16)
    open_model = zoo.load(NAME, input_shape=(None, None, 1), pooling=None)
    np.testing.assert_array_equal(outputs(open_model, x), outputs(model, x))


def test_fresh_weights_differ_and_a_path_reads_weights(encoder, tmp_path):
    x = images(2, 8, 8, 1)
    fresh = zoo.load(NAME, weights=None)
    assert np.abs(outputs(fresh, x) - outputs(encoder, x)).max() > 1e-3
    fresh.save_weights(tmp_path / "mine.weights.h5")
    again = zoo.load(NAME, weights=tmp_path / "mine.weights.h5")
    np.testing.assert_array_equal(outputs(again, x), outputs(fresh, x))


def test_a_classifier_is_fresh_and_the_encoder_below_is_not(encoder):
    x = images(4, 8, 8, 1)
    model = zoo.load(NAME, include_top=True, classes=10, trainable=False, name="mine")
    assert model.name == "mine"
    probabilities = outputs(model, x)
    np.testing.assert_allclose(probabilities.sum(-1), np.ones(4), atol=1e-6)
    kernel, bias = model.get_layer("predictions").get_weights()
    logits = outputs(encoder, x) @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert [variable.name for variable in model.trainable_variables] == ["kernel", "bias"]
    plain = zoo.load(NAME, include_top=True, classes=10, classifier_activation=None)
    assert len(plain.trainable_variables) == len(encoder.trainable_variables) + 2


def test_a_frozen_encoder_has_nothing_to_train():
    assert zoo.load(NAME, trainable=False).trainable_variables == []
    assert zoo.load(NAME, name="other").name == "other"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"include_top": True}, "number of classes .*classes=None"),
        ({"classes": 10}, "only with include_top=True.*classes=10"),
        ({"include_top": True, "classes": 10, "pooling": None}, "below a classifier.*pooling=None"),
        ({"pooling": "mean"}, "pooling='mean'"),
        ({"weights": "imagenet"}, "weights='imagenet'"),
        ({"weights": "absent.weights.h5"}, "existing file"),
        ({"input_shape": (8, 8, None)}, "a known number of channels"),
        ({"input_shape": (8, 8)}, r"\(height, width, channels\)"),
        ({"input_shape": (0, 8, 1)}, r"\(height, width, channels\)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=rf"^zoo\.load: expected .*{message}"):
        zoo.load(NAME, **arguments)


def test_a_perceptron_keeps_its_size_and_has_no_map(root):
    publish(root / "simclr_mlp_test.b", mlp.mlp(image_shape=(8, 8, 1), widths=(6,)))
    with pytest.raises(ValueError, match="leaves the shapes of the weights unchanged.*8, 8, 1"):
        zoo.load("simclr_mlp_test.b", input_shape=(9, 8, 1))
    with pytest.raises(ValueError, match="no feature map"):
        zoo.load("simclr_mlp_test.b", pooling=None)


@pytest.mark.parametrize("widths", [(4, 8, 17), (4, 8), (4, 8, 16, 16)], ids=["other", "fewer", "more"])
def test_weights_of_another_model_are_refused(widths, tmp_path):
    path = tmp_path / "other.weights.h5"
    convnet.convnet(image_shape=(8, 8, 1), widths=widths).save_weights(path)
    with pytest.raises(ValueError, match="expected weights of zoo.models.convnet:convnet"):
        zoo.load(NAME, weights=path)


def test_a_file_that_is_no_hdf5_is_refused(tmp_path):
    (tmp_path / "a.weights.h5").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="expected weights of zoo.models.convnet:convnet"):
        zoo.load(NAME, weights=tmp_path / "a.weights.h5")


def test_altered_weights_are_never_read(root):
    folder = root / "simclr_convnet_altered.a"
    publish(folder, convnet.convnet(image_shape=(8, 8, 1), widths=(4, 8)))
    path = folder / "encoder.weights.h5"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"expected encoder\.weights\.h5 with sha256="):
        zoo.load(folder)


def test_a_near_miss_is_answered_with_the_name():
    with pytest.raises(ValueError, match=rf"Did you mean '{NAME}'\?"):
        zoo.load("simclr_convnet_digits.tests")


@pytest.mark.parametrize("name", ["predict", "evaluate", "fit"])
def test_images_of_0_to_255_are_warned_of_where_the_graph_cannot(name):
    model = zoo.load(NAME, include_top=True, classes=2)
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = images(4, 8, 8, 1), np.zeros(4)
    arguments = (x,) if name == "predict" else (x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(model, name)(*arguments, verbose=0)
    with pytest.warns(UserWarning, match="Divide by 255"):
        getattr(model, name)(255 * x, *arguments[1:], verbose=0)


@pytest.mark.parametrize("arguments", [{}, {"pooling": None}, {"pooling": "max"}, {"input_shape": (None, None, 1)}])
def test_an_encoder_warns_of_images_of_0_to_255(arguments):
    model = zoo.load(NAME, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(images(4, 8, 8, 1), verbose=0)
    with pytest.warns(UserWarning, match="Divide by 255"):
        model.predict(255 * images(4, 8, 8, 1), verbose=0)


def test_every_file_is_read_once(root):
    """The bytes that are parsed are those that were hashed, and large weights are not read twice."""
    folder, opened = root / NAME, collections.Counter()
    is_counted = True

    def hook(event, arguments):  # cannot be removed
        if is_counted and event == "open" and str(arguments[0]).startswith(f"{folder}/"):
            opened[pathlib.Path(arguments[0]).name] += 1

    sys.addaudithook(hook)
    zoo.load(folder)
    is_counted = False
    assert opened == {cards.CARD: 1, cards.WEIGHTS: 1}
