import numpy as np
import pytest
import tensorflow_datasets as tfds

from zoo.data import splits

COUNTS = {"test": 50, "train": 130, "extra": 20}


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
    np.testing.assert_array_equal(splits.rows(split, COUNTS, "x"), list(expected))


def test_even_splits_are_a_partition():
    parts = [splits.rows(part, COUNTS, "x") for part in tfds.even_splits("train", 3)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(130))


@pytest.mark.parametrize("split", ["trian", "train[5", "train[:1000]", "train[60:50]", "train[:0]", ""])
def test_refuses(split):
    with pytest.raises(ValueError, match="x: expected"):
        splits.rows(split, COUNTS, "x")


def test_did_you_mean():
    with pytest.raises(ValueError, match="Did you mean 'train'"):
        splits.rows("trian[:10%]", COUNTS, "x")


@pytest.mark.parametrize(
    "split",
    ["train", "all", "train[7%:33.5%]", "test[:1%]+train[99%:]", "train[-30%:]", "train[-30:-10]", "train[:-3]"]
    + [
        "train[1_0:1_00]",
        "train [:3]",
        "extra[2.5%:]",
        "train[5]",
        "train[:]",
        "all[:3]",
        "train[10%:20]",
        "test[:50]",
    ],
)
def test_reads_as_tfds_does(split):
    infos = {name: tfds.core.SplitInfo(name=name, shard_lengths=[count], num_bytes=0) for name, count in COUNTS.items()}
    try:
        instructions = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    except (ValueError, NotImplementedError):
        with pytest.raises(ValueError, match="x: expected"):
            splits.rows(split, COUNTS, "x")
        return
    starts = {"train": 0, "extra": 130, "test": 150}
    expected = []
    for part in instructions:
        every = range(starts[part.splitname], starts[part.splitname] + COUNTS[part.splitname])
        expected += every[part.from_ : part.to]
    np.testing.assert_array_equal(splits.rows(split, COUNTS, "x"), expected)
