import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo import features
from zoo.data import scenes, sources
from zoo.hub import schema
from zoo.models import convnet, mlp
from zoo.transfer import evaluate, intervals, knn, knn_protocol, linear, protocols, results, splits


@pytest.fixture(scope="module")
def data():
    train, test = (sources.load("digits", split) for split in ("train", "test"))
    return train.subset(np.arange(300)), test.subset(np.arange(120))


def encoder(seed=0, width=16):
    keras.utils.set_random_seed(seed)
    return mlp.mlp(image_shape=(8, 8, 1), widths=(width,))


@pytest.fixture(scope="module")
def rows(data):
    return evaluate.evaluate(encoder(7), data, labels=("all", 3), draws=2, seed=4)


def only(rows, **wanted):
    (found,) = [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return found


def test_every_cell_of_the_table(rows):
    _, lines = results.cells(rows)
    assert [line[:3] for line in lines] == [
        ["digits", protocol, labels] for labels in ("all", "3 per class") for protocol in ("knn", "linear")
    ]
    assert all("n/a" not in line for line in lines)
    assert {row.n_test for row in rows} == {120}


def test_all_labels_are_the_protocols_called_directly(rows, data):
    train, test = data
    images = [source.images.reshape(source.size, 64).astype(np.float32) / 255 for source in data]
    value, _ = knn.knn_accuracy(images[0], train.labels, images[1], test.labels, k=None)
    found = only(rows, protocol="knn", labels="all", features="pixels")
    assert found.value == value and found.details["k"] in knn.CANDIDATES
    assert found.interval == intervals.wilson(value, 120)
    value, settings = linear.linear_accuracy(images[0], train.labels, images[1], test.labels, seed=4)
    found = only(rows, protocol="linear", labels="all", features="pixels")
    assert found.value == value and found.details["l2"] == settings["l2"]


def test_few_labels_are_a_mean_over_draws(rows, data):
    train, test = data
    network = encoder(7)
    x, judged = features.extract(network, train), features.extract(network, test)
    values = []
    for draw in range(2):
        part = splits.per_class(train.labels, 3, 4, draw)
        values.append(knn.knn_accuracy(x[part], train.labels[part], judged, test.labels, k=None)[0])
    found = only(rows, protocol="knn", labels="3 per class", features="trained")
    assert found.details["values"] == [values] and found.details["interval_over"] == "draws"
    assert found.value == pytest.approx(np.mean(values)) and found.interval == intervals.student(values)


def test_the_untrained_encoder_is_another_and_repeats(rows, data):
    network = encoder(7)
    fresh = evaluate.untrained(network, 4)
    assert fresh.architecture == network.architecture
    assert not np.allclose(features.extract(fresh, data[1]), features.extract(network, data[1]))
    again = features.extract(evaluate.untrained(network, 4), data[1])
    np.testing.assert_array_equal(again, features.extract(fresh, data[1]))
    value, _ = knn.knn_accuracy(features.extract(fresh, data[0]), data[0].labels, again, data[1].labels, k=None)
    assert only(rows, protocol="knn", labels="all", features="untrained").value == value


def test_many_images_are_judged_by_the_papers_number_of_neighbors(data, monkeypatch):
    monkeypatch.setattr(knn_protocol, "K_FROM", data[0].size)
    rows = evaluate.evaluate(encoder(), data, protocols=("knn",), labels=("all",))
    assert {row.details["k"] for row in rows} == {200}


def test_models_without_a_record_are_cloned_with_fresh_weights(data):
    network = encoder(9)
    bare = keras.Model(network.input, network.output)
    fresh = evaluate.untrained(bare, 0)
    assert fresh.output_shape == bare.output_shape
    assert not np.allclose(features.extract(fresh, data[1]), features.extract(bare, data[1]))


def test_a_saved_model_has_no_untrained_encoder(data, tmp_path):
    network = encoder()
    module = tf.Module()
    module.held = [variable.value for variable in network.variables]
    spec = tf.TensorSpec([None, 8, 8, 1], tf.float32, name="images")
    serve = tf.function(lambda images: {"embedding": network(images, training=False)}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": serve})
    rows = evaluate.evaluate(str(tmp_path), data, protocols=("knn",), labels=("all",))
    fresh = only(rows, features="untrained")
    assert fresh.value is None and fresh.text == "n/a" and "SavedModel" in fresh.details["reason"]
    assert only(rows, features="trained").value > 0.3


def test_several_models_are_a_mean_over_them(data):
    models = [encoder(1), encoder(2), encoder(3)]
    rows = evaluate.evaluate(models, data, protocols=("knn",), labels=("all",))
    found = only(rows, features="trained")
    single = [evaluate.evaluate(model, data, protocols=("knn",), labels=("all",))[-1].value for model in models]
    assert found.n_seeds == 3 and found.value == pytest.approx(np.mean(single))
    assert found.interval == pytest.approx(intervals.student(single))
    assert found.details["interval_over"] == "models"
    assert only(rows, features="untrained").n_seeds == 3
    assert only(rows, features="pixels").n_seeds == 1


def test_the_rows_fit_a_card(rows):
    for index, result in enumerate(results.on_card({"results": []}, rows, "again")["results"]):
        schema._check_fields(f"results[{index}]", result, schema._RESULT)


def test_names_of_data_are_loaded():
    rows = evaluate.evaluate(
        encoder(), "digits", ("knn",), train_split="train[:100]", test_split="test[:50]", labels=("all",)
    )
    assert {row.n_test for row in rows} == {50}
    assert rows[0].details["k"] in knn.CANDIDATES  # 200 neighbors do not suit 100 images


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocols": ("linaer",)}, "one of 'knn', 'linear'. Received: name='linaer'. Did you mean 'linear'?"),
        ({"labels": (0,)}, "'all' or a number of labels per class. Received: labels=0"),
        ({"draws": 0}, "`draws` to be a positive integer. Received: draws=0"),
    ],
)
def test_refuses_before_any_work(arguments, message):
    with pytest.raises(ValueError) as caught:
        evaluate.evaluate(None, None, **arguments)
    assert message in str(caught.value)


def test_an_encoder_of_depth_is_judged_on_depth(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes.Scenes, "COUNTS", {"train": 40, "test": 20})
    encoder = convnet.convnet((48, 48, 1), (4,))
    common = {"protocols": ("knn",), "labels": ("all",), "data_dir": tmp_path}
    rows = evaluate.evaluate(encoder, "scenes", **common, image="depth")
    assert [row.n_test for row in rows] == [20] * 3 and all(row.value is not None for row in rows)
    with pytest.raises(ValueError, match="48, 48, 1"):
        evaluate.evaluate(encoder, "scenes", **common, channels=3)


@pytest.mark.parametrize(
    ("train", "test", "common"),
    [("train", "train", 1297), ("train[:60]", "train[40:100]", 20), ("train+test", "test", 500)],
)
def test_refuses_to_test_on_training_images(train, test, common):
    with pytest.raises(ValueError, match=f"without images of `train_split`. Received: .*common={common}"):
        evaluate.evaluate(encoder(), "digits", train_split=train, test_split=test)


def test_test_classes_without_training_images_are_said(caplog):
    labels = [np.repeat([0, 1], 6), np.repeat([0, 1, 2], 4)]
    images = [np.zeros((12, 2, 2, 1), "uint8"), np.zeros((12, 2, 2, 1), "uint8")]
    made = [
        sources.from_arrays({"image": pixels}, found, classes=["ant", "bee", "wasp"])
        for pixels, found in zip(images, labels, strict=True)
    ]
    evaluate._check_labels(*made)
    assert "4 of 12 test images are of classes without training images, and count as errors: wasp." in caplog.text


def test_refuses_data_without_labels(data):
    class Unlabeled:
        name, split, labels = "folder", "train", None

    with pytest.raises(ValueError, match="expected data with labels. Received: folder train, which has none"):
        evaluate.evaluate(encoder(), (Unlabeled(), data[1]))


def test_one_label_per_class_chooses_no_penalty(data):
    rows = evaluate.evaluate(encoder(), data, labels=(1,), draws=2)
    assert all(only(rows, protocol="knn", features=kind).value > 0 for kind in results.FEATURES)
    found = only(rows, protocol="linear", features="trained")
    assert found.value is None and "at least 2 labels per class" in found.details["reason"]


def two_metrics(model, train, test, *, seed, features):
    width = features(model, test).shape[1]
    error = protocols.Measurement("error", 1.5 + width / 100, (1.0, 2.0), test.size, {"sizes": [train.size, width]})
    return [protocols.accuracy(0.25, test.size), error]


def test_a_protocol_of_several_metrics(data):
    name = f"{__name__}.two_metrics"
    rows = evaluate.evaluate(encoder(), data, protocols=(name,), labels=("all", 2), draws=3)
    assert {row.protocol for row in rows} == {name}
    found = only(rows, labels="all", features="trained", metric="error")
    assert (found.value, found.interval, found.n_test) == (1.66, (1.0, 2.0), 120)
    assert found.details["sizes"] == [300, 16] and found.text == "1.66 (1-2)"
    assert only(rows, labels="all", features="pixels", metric="accuracy").interval == intervals.wilson(0.25, 120)
    few = only(rows, labels="2 per class", features="pixels", metric="error")
    assert few.details["sizes"] == [20, 64] and few.interval == (few.value, few.value)
    heading, lines = results.cells(rows)
    assert heading[3] == "metric" and [line[3] for line in lines] == ["accuracy", "error"] * 2


def test_images_are_embedded_once_for_all_protocols_and_draws(data, monkeypatch):
    sizes = []
    extracted = features.Extractor.__call__
    monkeypatch.setattr(
        features.Extractor, "__call__", lambda self, given: sizes.append(given.size) or extracted(self, given)
    )
    evaluate.evaluate(encoder(), data, labels=("all", 2), draws=2)
    assert sizes == [300, 120] * 3


def test_encoders_of_any_size(data):
    keras.utils.set_random_seed(0)
    network = convnet.convnet((None, None, 1), (4, 8))
    fresh = evaluate.untrained(network, 1)
    assert fresh.input_shape == (None, None, None, 1) and fresh.architecture == network.architecture
    assert not np.allclose(features.extract(fresh, data[1]), features.extract(network, data[1]))
    rows = evaluate.evaluate(network, data, protocols=("knn",), labels=("all",))
    assert all(row.value is not None for row in rows)


def test_a_method_is_judged_by_its_first_encoder(data):
    class Method:
        def encoders(self):
            return {"image": encoder(7)}

    by_method = evaluate.evaluate(Method(), data, protocols=("knn",), labels=("all",))
    assert by_method == evaluate.evaluate(encoder(7), data, protocols=("knn",), labels=("all",))


def a_number(model, train, test, *, seed, features):
    return 0.5


def test_a_protocol_returns_a_list_of_measurements(data):
    with pytest.raises(ValueError, match="a_number' to return a list of measurements. Received: returned=0.5"):
        evaluate.evaluate(encoder(), data, protocols=(f"{__name__}.a_number",), labels=("all",))


def test_models_by_name_stand_side_by_side(data):
    models = {"one": encoder(1), "two": [encoder(2), encoder(3)]}
    rows = evaluate.evaluate(models, data, protocols=("knn",), labels=("all",))
    assert [(row.features, row.model, row.n_seeds) for row in rows] == [
        ("pixels", "", 1),
        ("untrained", "one", 1),
        ("trained", "one", 1),
        ("untrained", "two", 2),
        ("trained", "two", 2),
    ]
    heading, (line,) = results.cells(rows)
    assert heading[3:] == ["raw pixels", "one, untrained", "one", "two, untrained", "two"]
    for name, model in models.items():
        alone = evaluate.evaluate(model, data, protocols=("knn",), labels=("all",))
        assert [row.value for row in alone[1:]] == [row.value for row in rows if row.model == name]
    assert results.markdown(rows).count("---:") == 5


def test_size_and_channels_come_from_the_model():
    keras.utils.set_random_seed(0)
    network = convnet.convnet((6, 6, 3), (4, 8))
    settings = {"protocols": ("knn",), "labels": ("all",), "train_split": "train[:200]", "test_split": "test[:60]"}
    rows = evaluate.evaluate(network, "digits", **settings)
    assert rows == evaluate.evaluate(network, "digits", size=6, channels=3, **settings)
    with pytest.raises(ValueError, match="same size; judge the others by themselves. Received: .*6, 6.*8, 8"):
        evaluate.evaluate({"a": network, "b": convnet.convnet((8, 8, 3), (4, 8))}, "digits", **settings)
