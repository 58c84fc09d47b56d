import logging

import numpy as np
import pytest
from sklearn import datasets

from zoo.data import sources


def test_digits():
    raw = datasets.load_digits()
    train, test = sources.load(), sources.load("digits", "test")
    assert (train.size, test.size, train.image_shape) == (1297, 500, (8, 8, 1))
    np.testing.assert_array_equal(np.concatenate([train.ids, test.ids]), np.arange(1797))
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), raw.target)
    found = np.concatenate([train.images, test.images])[..., 0]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.round(raw.images * 255 / 16))
    assert train.classes == [str(digit) for digit in range(10)]


def test_slices_keep_their_ids():
    whole, part = sources.load("digits", "train+test"), sources.load("digits", "train[50%:]+test[:3]")
    np.testing.assert_array_equal(part.images, whole.images[part.ids])
    np.testing.assert_array_equal(part.labels, whole.labels[part.ids])


def test_a_slice_of_the_digits_without_some_of_them_warns(caplog):
    caplog.set_level(logging.WARNING)
    found = sources.load("digits", "train[:20]+test[:9]").labels
    assert set(found) == set(range(10)) and not caplog.records
    held = set(sources.load("digits", "train[:4]").labels)
    assert f"digits train[:4] lacks {10 - len(held)} of the 10 classes that train has: " in caplog.text


def test_size_and_channels():
    source = sources.load(size=16, channels=3)
    assert source.images.shape == (1297, 16, 16, 3)
    np.testing.assert_array_equal(source.images[..., 0], source.images[..., 2])


def test_subset():
    whole = sources.load()
    part = whole.subset([5, 3, 900]).subset(np.array([True, False, True]))
    np.testing.assert_array_equal(part.ids, [5, 900])
    np.testing.assert_array_equal(part.images, whole.images[[5, 900]])
    np.testing.assert_array_equal(part.fetch([1]), whole.images[[900]])
    (batch,) = part.in_order(8)
    np.testing.assert_array_equal(batch["id"], [5, 900])
    np.testing.assert_array_equal(batch["label"], whole.labels[[5, 900]])


def test_images_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        sources.load().images[0] = 0


@pytest.mark.parametrize("rows", [[1297], [-1], [0.5], [[0]], [True, False]])
def test_rows_out_of_range(rows):
    with pytest.raises(ValueError, match="Source: expected `rows` to be integers"):
        sources.load().fetch(rows)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"size": 2.5},
        {"channels": 2},
        {"name": ""},
        {"name": None},
        {"split": "tset"},
        {"in_memory": False},
    ],
)
def test_refuses(wrong):
    with pytest.raises(ValueError, match="expected"):
        sources.load(**wrong)


def test_classes_are_counted():
    assert sources.load("digits", "train[:3]").class_count == 10
    x = np.zeros((4, 2), np.float32)
    assert sources.from_arrays({"x": x}).class_count == 0
    assert sources.from_arrays({"x": x}, labels=[0, 2, 1, -1]).class_count == 3
    assert sources.from_arrays({"x": x}, labels=[-1] * 4).class_count == 0


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "int8", "uint16", "bool"])
def test_arrays_come_as_they_are(dtype):
    x = (np.random.default_rng(0).normal(size=(9, 3)) * 5).astype(dtype)
    source = sources.from_arrays({"x": x, "y": np.arange(9)}, labels=np.arange(9) % 3, classes=["a", "b", "c"])
    assert source.spec == {
        "x": ((3,), dtype),
        "y": ((), "int64"),
        "label": ((), "int32"),
        "id": ((), "int32"),
    }
    for batch in source.batches(4, seed=3, steps=5):
        rows = np.asarray(batch["id"])
        assert np.asarray(batch["x"]).dtype == dtype
        np.testing.assert_array_equal(batch["x"], x[rows])
        np.testing.assert_array_equal(batch["y"], rows)
        np.testing.assert_array_equal(batch["label"], rows % 3)
    part = source.subset([5, 2])
    assert source.labels.dtype == np.int64 and "9 examples of x (3,), y ()" in repr(source)
    np.testing.assert_array_equal(part.examples([1])["x"], x[[2]])
    np.testing.assert_array_equal(part.examples([1])["id"], [2])
    with pytest.raises(ValueError, match="key 'image'"):
        _ = part.images
    with pytest.raises(ValueError, match="key 'image'"):
        _ = part.image_shape


def test_arrays_with_images():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    source = sources.from_arrays({"image": pixels})
    assert source.image_shape == (4, 4, 3) and source.labels is None and source.size == 5
    np.testing.assert_array_equal(source.images, pixels)
    np.testing.assert_array_equal(source.fetch([2, 0]), pixels[[2, 0]])
    with pytest.raises(ValueError, match="read-only"):
        source.images[0] = 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (({},), "one or more `arrays` of one length"),
        (({"x": np.zeros((0, 2))},), "one length n > 0"),
        (({"x": np.zeros(())},), "one length n > 0"),
        (({"x": np.zeros(2), "y": np.zeros(3)},), "one length n > 0"),
        (({"id": np.zeros(2)},), "keys other than"),
        (({"x": np.array(["a", "b"])},), "numbers in arrays\\['x'\\]"),
        (({"image": np.zeros((2, 3, 3, 1))},), "uint8 \\[n, H, W, C\\]"),
        (({"x": np.zeros(2)}, np.zeros(3, int)), "`labels` to be integers \\[2\\]"),
        (({"x": np.zeros(2)}, np.zeros(2)), "`labels` to be integers \\[2\\]"),
        (({"x": np.zeros(2)}, [0, -2]), "`labels` from -1"),
        (({"x": np.zeros(2)}, [0, 2], "n", ["a", "b"]), "`labels` from -1 to 1"),
    ],
)
def test_refuses_arrays(given, message):
    with pytest.raises(ValueError, match="from_arrays: expected .*" + message):
        sources.from_arrays(*given)


def test_labels_of_arrays_are_known():
    source = sources.from_arrays({"x": np.zeros((3, 2), "float32")}, labels=[0, 2, -1])
    np.testing.assert_array_equal(source.known_labels, [0, 2, -1])
    for unlabeled in (None, [-1, -1, -1]):
        source = sources.from_arrays({"x": np.zeros((3, 2), "float32")}, labels=unlabeled)
        assert source.labels is None and source.known_labels.tolist() == [-1, -1, -1]
