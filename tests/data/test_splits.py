import numpy as np
import pytest
import tensorflow_datasets as tfds

from zoo.data import splits

INFOS = splits.infos({"test": 50, "train": 130, "extra": 20})


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", range(130)),
        ("extra", range(130, 150)),
        ("test[-5:]", range(195, 200)),
        ("train[:10%]", range(13)),
        ("train[10%:20%]", range(13, 26)),
        ("train[100:120]", range(100, 120)),
        ("test[:2]+train[:1]", [150, 151, 0]),
        ("all", [*range(150, 200), *range(130), *range(130, 150)]),
    ],
)
def test_positions(split, expected):
    np.testing.assert_array_equal(splits.rows(split, INFOS, "x"), list(expected))


def test_even_splits_are_a_partition():
    parts = [splits.rows(part, INFOS, "x") for part in tfds.even_splits("train", 3)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(130))


@pytest.mark.parametrize("split", ["trian", "train[5", "train[:1000]", "train[60:50]", "train[:0]", ""])
def test_refuses(split):
    with pytest.raises(ValueError, match="x: expected"):
        splits.rows(split, INFOS, "x")


def test_did_you_mean():
    with pytest.raises(ValueError, match="Did you mean 'train'"):
        splits.rows("trian[:10%]", INFOS, "x")
