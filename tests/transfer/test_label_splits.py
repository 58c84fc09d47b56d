import numpy as np
import pytest

from zoo.transfer import splits

LABELS = np.repeat([0, 1, 2], [50, 20, 30])[np.random.default_rng(0).permutation(100)]


def test_per_class_takes_as_many_of_each():
    rows = splits.per_class(LABELS, 7, seed=0)
    assert np.bincount(LABELS[rows]).tolist() == [7, 7, 7]
    assert len(set(rows.tolist())) == 21 and (np.diff(rows) > 0).all()


def test_draws_differ_and_repeat():
    drawn = [splits.per_class(LABELS, 5, seed, draw).tolist() for seed in (0, 1) for draw in (0, 1)]
    assert len({tuple(rows) for rows in drawn}) == 4
    assert drawn[0] == splits.per_class(LABELS, 5, 0, 0).tolist()


def test_every_example_is_drawn_as_often():
    counts = np.zeros(100)
    for draw in range(400):
        counts[splits.per_class(LABELS, 5, 0, draw)] += 1
    for label, size in ((0, 50), (1, 20), (2, 30)):
        expected = 400 * 5 / size
        assert np.abs(counts[LABELS == label] - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize("repeats", [1, 3])
def test_folds_hold_out_everything_as_often(repeats):
    pairs = splits.folds(LABELS, 0, 5, repeats)
    assert len(pairs) == 5 * repeats
    for repeat in range(repeats):
        parts = pairs[5 * repeat : 5 * repeat + 5]
        np.testing.assert_array_equal(np.sort(np.concatenate([held for _, held in parts])), np.arange(100))
    for fitting, held in pairs:
        assert np.bincount(LABELS[held]).tolist() == [10, 4, 6]
        assert not set(fitting) & set(held) and len(fitting) + len(held) == 100
    assert len({tuple(held) for _, held in pairs}) == 5 * repeats


def test_few_examples_are_divided_twice():
    assert len(splits.folds(np.arange(998) % 2, 0)) == 10 and len(splits.folds(np.arange(1000) % 2, 0)) == 5


@pytest.mark.parametrize("seed", range(5))
def test_folds_of_unequal_classes_keep_every_class_where_it_is_learned(seed):
    labels = np.repeat([0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 30, 1])[np.random.default_rng(seed).permutation(41)]
    pairs = splits.folds(labels, seed, 5, 1)
    held = np.concatenate([rows for _, rows in pairs])
    assert np.bincount(labels[held], minlength=6).tolist() == [0, 2, 3, 4, 30, 0]  # an only example is never held out
    for fitting, rows in pairs:
        assert set(labels[fitting]) == set(range(6))
        assert not set(fitting) & set(rows) and len(fitting) + len(rows) == 41
        assert 7 <= len(rows) <= 8 and 6 <= np.bincount(labels[rows], minlength=6)[4] <= 6


def test_folds_are_no_more_than_the_largest_class_allows():
    pairs = splits.folds(np.array([0, 0, 0, 1, 1]), 0, 5, 1)
    assert len(pairs) == 3 and all(len(held) for _, held in pairs)


def test_draws_are_few():
    assert splits.few(splits.per_class(LABELS, 5, 0) * 0) and splits.few(LABELS[splits.per_class(LABELS, 20, 0)])
    assert splits.few(np.repeat([0, 1], 100)) and not splits.few(np.repeat([0, 1], 101))
    assert not splits.few(LABELS)  # folds of unequal classes


def test_refuses():
    with pytest.raises(ValueError, match="at most the 20 labels of the rarest class. Received: count=21"):
        splits.per_class(LABELS, 21, 0)
    with pytest.raises(ValueError, match="`count` to be a positive integer. Received: count=0"):
        splits.per_class(LABELS, 0, 0)
    with pytest.raises(ValueError, match="all of different classes"):
        splits.folds(np.arange(3), 0)
