"""Which training labels a protocol may use, and which of them it holds out to choose a setting."""

import numpy as np

from zoo import checks, seeds

# Folded in first, so that draws and folds never share an order.
_DRAW, _FOLD = 1, 3
_FEW = 100  # labels per class
_REPEATED = 1000  # examples, below which folds are drawn twice


def check(who: str, labels: np.ndarray, size: int) -> np.ndarray:
    """Returns the labels as int64 `[n]`.

    Args:
        who: name of the caller, for errors.
        labels: integers `[n]`.
        size: the number of examples, n.

    Raises:
        ValueError: an example has no label >= 0, or there are no examples.
    """
    labels = np.asarray(labels)
    if labels.shape != (size,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{who}: expected {size} integer labels. Received: labels of shape {labels.shape}, {labels.dtype}."
        )
    checks.require(size > 0, who, "at least one example", size=size)
    if labels.min() < 0:
        raise ValueError(
            f"{who}: expected a label >= 0 for every example. Received: {int((labels < 0).sum())} without."
        )
    return labels.astype(np.int64)


def matrix(who: str, name: str, features: np.ndarray) -> np.ndarray:
    """Returns features as float32 `[n, F]`, all finite.

    Args:
        who: name of the caller, for errors.
        name: name of the caller's parameter.
        features: numbers `[n, F]`.

    Raises:
        ValueError: the array is no matrix, or a row holds NaN or infinity, which would silently change predictions.
    """
    features = np.asarray(features)
    if features.ndim != 2:
        raise ValueError(f"{who}: expected `{name}` of shape [n, F]. Received: {name} of shape {features.shape}.")
    features = features.astype(np.float32, copy=False)
    if bad := int((~np.isfinite(features).all(axis=1)).sum()):
        raise ValueError(
            f"{who}: expected finite `{name}`. Received: NaN or infinity in {bad} of {len(features)} rows of {name}."
        )
    return features


def matrices(who: str, train_features: np.ndarray, test_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of training and test examples as `matrix` does.

    Raises:
        ValueError: they are not valid, or have different numbers of features.
    """
    train = matrix(who, "train_features", train_features)
    test = matrix(who, "test_features", test_features)
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"{who}: expected two matrices with the same number of features. "
            f"Received: shapes {train.shape} and {test.shape}."
        )
    return train, test


def few(labels: np.ndarray) -> bool:
    """Returns whether every label must serve both to fit and to choose: at most 100 per class, as many of each class.

    Draws by `per_class` meet this condition. Folds of unequal classes could leave out the rarest.

    Args:
        labels: integers `[n]`.
    """
    _, counts = np.unique(labels, return_counts=True)
    return int(counts.max()) <= _FEW and bool(np.all(counts == counts[0]))


def _by_class(labels: np.ndarray, *folds: int) -> list[np.ndarray]:
    """Returns the rows of each class, in a random order that depends on the integers in `folds`."""
    order = seeds.shuffled(len(labels), *folds)
    shuffled = labels[order]
    return [order[shuffled == label] for label in np.unique(labels)]


def per_class(labels: np.ndarray, count: int, seed: int, draw: int = 0) -> np.ndarray:
    """Returns the rows of `count` random examples of each class.

    Args:
        labels: integers `[n]`.
        count: number of examples per class.
        seed: an integer >= 0.
        draw: number of the draw, an integer >= 0; different draws are independent.

    Returns:
        int64 `[classes * count]`, ascending.

    Raises:
        ValueError: a class has fewer examples.
    """
    checks.integers("per_class", count=count)
    rows = _by_class(labels, seed, _DRAW, draw)
    fewest = min(map(len, rows))
    checks.require(count <= fewest, "per_class", f"at most the {fewest} labels of the rarest class", count=count)
    return np.sort(np.concatenate([members[:count] for members in rows]))


def folds(
    labels: np.ndarray, seed: int, count: int = 5, repeats: int | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the pairs of repeated stratified cross-validation, `(rows that fit, rows that choose)`.

    The examples of a class are spread as evenly as possible. The only example of a class is among those that fit in
    every pair.

    Args:
        labels: integers `[n]`.
        seed: an integer >= 0.
        count: number of pairs per repeat; fewer if every class has fewer examples.
        repeats: number of times that the examples are divided anew; by default 2 for fewer than 1,000 examples, else 1.

    Raises:
        ValueError: no class has two examples, so that nothing can be held out.
    """
    repeats = (2 if len(labels) < _REPEATED else 1) if repeats is None else repeats
    pairs = []
    for repeat in range(repeats):
        classes = [rows for rows in _by_class(labels, seed, _FOLD, repeat) if len(rows) > 1]
        if not classes:
            raise ValueError(
                "folds: expected a class with two or more examples. "
                f"Received: {len(labels)} labels, all of different classes."
            )
        spread = min(count, max(map(len, classes)))
        # One class begins where the last one ended, so that small classes do not all meet in the first folds.
        dealt = np.concatenate(classes)
        held = [np.sort(dealt[index::spread]) for index in range(spread)]
        pairs += [(np.setdiff1d(np.arange(len(labels)), rows, assume_unique=True), rows) for rows in held]
    return pairs
