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


def test_hold_out_is_a_stratified_tenth():
    ((fitting, choosing),) = splits.hold_out(LABELS, 0)
    assert np.bincount(LABELS[choosing]).tolist() == [5, 2, 3]
    np.testing.assert_array_equal(np.sort(np.concatenate([fitting, choosing])), np.arange(100))


def test_hold_out_keeps_every_class_where_it_is_learned():
    labels = np.array([0, 0, 0, 1, 1, 2])
    ((fitting, choosing),) = splits.hold_out(labels, 0)
    assert set(labels[fitting]) == {0, 1, 2} and sorted(labels[choosing]) == [0, 1]


def test_folds_hold_out_everything_once():
    pairs = splits.folds(LABELS, 0, 5)
    np.testing.assert_array_equal(np.sort(np.concatenate([held for _, held in pairs])), np.arange(100))
    for fitting, held in pairs:
        assert np.bincount(LABELS[held]).tolist() == [10, 4, 6]
        assert not set(fitting) & set(held) and len(fitting) + len(held) == 100


def test_folds_are_no_more_than_the_rarest_class_allows():
    pairs = splits.folds(np.array([0, 0, 0, 0, 1, 1, 1]), 0, 5)
    assert len(pairs) == 3
    assert all(len(held) for _, held in pairs)


def test_draws_are_few():
    assert splits.few(splits.per_class(LABELS, 5, 0) * 0) and splits.few(LABELS[splits.per_class(LABELS, 20, 0)])
    assert splits.few(np.repeat([0, 1], 100)) and not splits.few(np.repeat([0, 1], 101))
    assert not splits.few(LABELS)  # folds of unequal classes


def test_refuses():
    with pytest.raises(ValueError, match="at most the 20 labels of the rarest class. Received: count=21"):
        splits.per_class(LABELS, 21, 0)
    with pytest.raises(ValueError, match="`count` to be a positive integer. Received: count=0"):
        splits.per_class(LABELS, 0, 0)
    with pytest.raises(ValueError, match="at least 2 labels of each class"):
        splits.folds(np.array([0, 0, 1]), 0)
    with pytest.raises(ValueError, match="all of different classes"):
        splits.hold_out(np.arange(3), 0)
