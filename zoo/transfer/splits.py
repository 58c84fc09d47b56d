"""Which training labels a protocol may use, and which of those it holds out to choose a setting: all by seed."""

import numpy as np

from zoo import seeds

# Folded in first, so that what is drawn, held out and folded never share an order.
_DRAW, _HOLD_OUT, _FOLD = 1, 2, 3


def check(who, labels, size):
    """The labels as int64 `[n]`; raises ValueError unless there is one for each of `size` examples."""
    labels = np.asarray(labels)
    if labels.shape != (size,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{who}: expected {size} integer labels. Received: labels of shape {labels.shape}, {labels.dtype}."
        )
    if size == 0:
        raise ValueError(f"{who}: expected at least one example. Received: 0.")
    if labels.min() < 0:
        raise ValueError(
            f"{who}: expected a label >= 0 for every example. Received: {int((labels < 0).sum())} without."
        )
    return labels.astype(np.int64)


def _by_class(labels, *folds):
    """For each class its rows in a random order that depends on the integers in `folds`."""
    order = seeds.shuffled(len(labels), *folds)
    shuffled = labels[order]
    return [order[shuffled == label] for label in np.unique(labels)]


def per_class(labels, count, seed, draw=0):
    """Rows of `count` random examples of each class.

    Args:
        labels: int64 `[n]`.
        count: examples per class, an integer >= 1.
        seed: integer >= 0.
        draw: which of the draws under this seed, an integer >= 0.

    Returns:
        int64 `[classes * count]`, ascending.

    Raises:
        ValueError: a class has fewer examples.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"per_class: expected an integer >= 1. Received: count={count!r}.")
    rows = _by_class(labels, seed, _DRAW, draw)
    fewest = min(map(len, rows))
    if fewest < count:
        raise ValueError(
            f"per_class: expected at most the {fewest} labels of the rarest class. Received: count={count}."
        )
    return np.sort(np.concatenate([each[:count] for each in rows]))


def hold_out(labels, seed, fraction=0.1):
    """One stratified split: `[(rows that fit, rows that choose)]`.

    Every class of two or more examples has at least one on each side; a single example stays with those that fit.
    Raises ValueError where that leaves nothing to choose by.
    """
    kept, held = [], []
    for rows in _by_class(labels, seed, _HOLD_OUT):
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        held.append(rows[:count])
        kept.append(rows[count:])
    held = np.sort(np.concatenate(held))
    if not len(held):
        raise ValueError(
            f"hold_out: expected a class with two or more examples. Received: {len(labels)} labels, all of one example."
        )
    return [(np.sort(np.concatenate(kept)), held)]


def folds(labels, seed, count=5):
    """Stratified cross-validation, pairs `(rows that fit, rows that choose)`.

    There are `count` pairs, or as many as the rarest class has examples. Raises ValueError where it has a single one:
    nothing can be held out.
    """
    classes = _by_class(labels, seed, _FOLD)
    count = min(count, *map(len, classes), len(labels))
    if count < 2:
        raise ValueError("folds: expected at least 2 labels of each class, to choose a setting by. Received: 1.")
    held = [np.sort(np.concatenate([rows[index::count] for rows in classes])) for index in range(count)]
    return [(np.setdiff1d(np.arange(len(labels)), rows, assume_unique=True), rows) for rows in held]
