import logging

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


@pytest.mark.parametrize("classes", [None, ["a", "b", "c", "d"]])
@pytest.mark.parametrize(
    ("split", "lacking"),
    [
        ("train", None),
        ("all", None),
        ("test+extra", None),
        ("train[:3]", None),
        ("train[:2]", ("1 of the 3 classes that train has", [2])),
        ("train[2:4]", ("1 of the 3 classes that train has", [1])),
        ("train[:1]", ("2 of the 3 classes that train has", [1, 2])),
        ("train[:1]+test", ("1 of the 4 classes that train and test have", [1])),
        ("extra[:1]", None),
        ("test[:1]", ("1 of the 2 classes that test has", [3])),
    ],
)
def test_a_slice_without_some_of_the_classes_warns(split, lacking, classes, caplog):
    # train, extra, test; class 3 has no training example, extra no labels.
    counts = {"test": 4, "train": 6, "extra": 2}
    labels = np.array([0, 1, 2, 0, 1, 2, -1, -1, 2, 3, -1, 2])
    caplog.set_level(logging.WARNING)
    splits.report_lacking(splits.rows(split, counts, "x"), counts, labels, classes, f"x {split}")
    found = [record.getMessage() for record in caplog.records]
    if lacking is None:
        assert not found
    else:
        names = ", ".join(str(number) if classes is None else classes[number] for number in lacking[1])
        assert found == [f"x {split} lacks {lacking[0]}: {names}."]


def test_many_names_are_cut_short():
    assert splits.listed("abc") == "a, b, c" and splits.listed(map(str, range(1007))) == "0, 1, 2, 3, 4 and 1,002 more"
    assert splits.listed(["ä b", "new\nline", "caf\udce9"]) == "ä b, new\\nline, caf\\udce9"
