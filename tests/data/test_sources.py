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
    with pytest.raises(ValueError, match="Source: expected integers"):
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
