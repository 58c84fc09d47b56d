"""Weighted nearest neighbors on frozen features (Wu et al., 2018, "Unsupervised Feature Learning via Non-Parametric
Instance Discrimination", https://arxiv.org/abs/1805.01978, Section 3.4).

The search is exact. Among equally similar training examples, the first counts as the nearest; among classes with equal
votes, the lowest wins.
"""

import functools
from collections.abc import Iterable

import numpy as np
from keras import ops

from zoo import checks, engine
from zoo.transfer import splits

# Numbers of neighbors among which one is chosen if labels are few.
CANDIDATES = (1, 5, 10, 20, 50, 200)
_NEVER = -np.float32(np.inf)
_BLOCK = 2**25  # similarities held at once: 128 MiB


def _chunk(k, count):
    """Returns how many keys form a chunk, so that there are more than k chunks if there are more than k keys."""
    return max(1, round((count / k) ** 0.5))


@functools.lru_cache(maxsize=16)
def _search(k, count, leave_one_out):
    """Returns the function that finds the k nearest keys: (queries, keys, excluded) -> similarities and rows.

    The search is exact and has two stages, as sorting costs more than comparing: the k nearest keys lie in the k chunks
    whose nearest members are nearest. Both stages prefer the lower of two equals, so that the whole search does.

    Args:
        k: number of neighbors.
        count: number of keys, n; copies of the last key fill its chunk.
        leave_one_out: whether the row `excluded` of each query is left out; otherwise `excluded` is -1.
    """
    chunk = _chunk(k, count)
    chunks = -(-count // chunk)

    def nearest(queries, keys, excluded):
        similarities = ops.matmul(queries, keys)  # [q, chunks * chunk]
        batch = ops.shape(similarities)[0]
        parts = ops.reshape(similarities, (-1, chunk))  # [q * chunks, chunk]
        highest = ops.reshape(ops.max(parts, axis=1), (batch, chunks))
        # The excluded key may have raised its chunk above one with a neighbor: one more chunk makes up for that.
        near = ops.sort(ops.top_k(highest, k + leave_one_out, sorted=False)[1], axis=1)  # [q, k], or k + 1
        kept = ops.take(parts, near + chunks * ops.arange(batch, dtype="int32")[:, None], axis=0)  # [q, k, chunk]
        if leave_one_out or chunks * chunk > count:
            rows = near[:, :, None] * chunk + np.arange(chunk, dtype="int32")  # [q, k, chunk]
            valid = ops.logical_and(rows < count, rows != excluded[:, None, None])
            kept = ops.where(valid, kept, _NEVER)
        values, places = ops.top_k(ops.reshape(kept, (batch, -1)), k)  # [q, k]
        return values, ops.take_along_axis(near, places // chunk, axis=1) * chunk + places % chunk

    return engine.current().compiled(nearest)


def _unit(features):
    features = np.asarray(features, np.float32)
    # A feature of length zero has no direction, hence similarity 0 to everything.
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def neighbors(
    train_features: np.ndarray, features: np.ndarray, k: int, leave_one_out: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the nearest training examples by cosine similarity.

    Args:
        train_features: `[n, F]`.
        features: `[m, F]`; with `leave_one_out` the training features themselves.
        k: number of neighbors, at most n, or n - 1 with `leave_one_out`.
        leave_one_out: whether row i of `features` is row i of the training features, which it must not find.

    Returns:
        Similarities float32 `[m, k]`, descending, and rows int64 `[m, k]`.

    Raises:
        ValueError: there are fewer training examples than neighbors.
    """
    if len(np.shape(train_features)) != 2 or np.shape(train_features)[1:] != np.shape(features)[1:]:
        raise ValueError(
            "knn: expected two matrices with the same number of features. "
            f"Received: shapes {np.shape(train_features)} and {np.shape(features)}."
        )
    most = len(train_features) - bool(leave_one_out)
    k = k.item() if isinstance(k, np.integer) else k
    valid = checks.is_integer(k) and k <= most
    checks.require(valid, "knn", f"`k` to be an integer from 1 to the {most} training examples", k=k)
    keys, queries = _unit(train_features), _unit(features)
    if missing := -len(keys) % _chunk(k, len(keys)):
        keys = np.pad(keys, ((0, missing), (0, 0)), mode="edge")
    # Transposed once: doing so for every block of queries would cost a third of the product.
    keys = ops.transpose(ops.convert_to_tensor(keys))  # [F, n]
    nearest = _search(k, len(train_features), bool(leave_one_out))
    size = max(1, _BLOCK // len(train_features))
    excluded = np.arange(len(queries), dtype=np.int32) if leave_one_out else np.full(len(queries), -1, np.int32)
    similarities, rows = [], []
    for start in range(0, len(queries), size):
        part = slice(start, start + size)
        values, indices = nearest(queries[part], keys, excluded[part])
        similarities.append(ops.convert_to_numpy(values))
        rows.append(ops.convert_to_numpy(indices))
    return np.concatenate(similarities), np.concatenate(rows).astype(np.int64)


def votes(
    similarities: np.ndarray, labels: np.ndarray, temperature: float = 0.07, classes: int | None = None
) -> np.ndarray:
    """Returns the votes for each class: each neighbor votes for its own, with weight exp(similarity / temperature).

    Args:
        similarities: `[m, k]`.
        labels: labels of the neighbors, int64 `[m, k]`.
        temperature: positive float.
        classes: number of classes; the highest label + 1 by default.

    Returns:
        float64 `[m, classes]`, relative to the vote of the nearest neighbor.
    """
    checks.positive("knn", temperature=temperature)
    classes = int(labels.max()) + 1 if classes is None else classes
    similarities = np.asarray(similarities, np.float64)
    # Relative to the nearest, as exp(1 / temperature) may be too large for a float.
    weights = np.exp((similarities - similarities[:, :1]) / temperature)  # [m, k]
    cells = np.arange(len(labels))[:, None] * classes + labels  # [m, k]
    flat = np.bincount(cells.ravel(), weights.ravel(), minlength=len(labels) * classes)
    return flat.reshape(len(labels), classes)


def chosen_k(
    features: np.ndarray, labels: np.ndarray, temperature: float = 0.07, candidates: Iterable[int] = CANDIDATES
) -> int:
    """Returns the number of neighbors with which most training examples are classified correctly by the others.

    Only training examples are used, each left out in turn. The smallest of equally good numbers wins. Candidates
    beyond the number of other examples are ignored.

    Args:
        features: `[n, F]`, n >= 2.
        labels: int64 `[n]`.
        temperature: positive float.
        candidates: integers.

    Returns:
        int.
    """
    labels = splits.check("knn", labels, len(features))
    possible = sorted(k for k in candidates if k < len(features))
    if not possible:
        raise ValueError(f"knn: expected candidates below {len(features)} examples. Received: candidates={candidates}.")
    similarities, rows = neighbors(features, features, possible[-1], leave_one_out=True)
    right = []
    for k in possible:
        won = votes(similarities[:, :k], labels[rows[:, :k]], temperature).argmax(axis=1)
        right.append(int((won == labels).sum()))
    return possible[int(np.argmax(right))]


def predict(
    train_features: np.ndarray, train_labels: np.ndarray, features: np.ndarray, k: int = 200, temperature: float = 0.07
) -> np.ndarray:
    """Returns the class of each example by the weighted vote of its neighbors, int64 `[m]`.

    Args:
        train_features: `[n, F]`.
        train_labels: int64 `[n]`, >= 0.
        features: `[m, F]`.
        k: number of neighbors, at most n.
        temperature: positive float; 0.07 in the paper.
    """
    train_labels = splits.check("knn", train_labels, len(train_features))
    similarities, rows = neighbors(train_features, features, k)
    return votes(similarities, train_labels[rows], temperature).argmax(axis=1)


def knn_accuracy(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    k: int | None = 200,
    temperature: float = 0.07,
) -> tuple[float, dict[str, float]]:
    """Returns the test accuracy of weighted nearest neighbors.

    Args:
        train_features: `[n, F]`.
        train_labels: int64 `[n]`, >= 0.
        test_features: `[m, F]`.
        test_labels: int64 `[m]`, >= 0.
        k: number of neighbors, at most n; 200 in the paper. None chooses among `CANDIDATES` by leave-one-out on the
            training examples.
        temperature: positive float; 0.07 in the paper.

    Returns:
        Accuracy in [0, 1], and a dict of the settings used.
    """
    train_features, test_features = splits.matrices("knn", train_features, test_features)
    test_labels = splits.check("knn", test_labels, len(test_features))
    k = chosen_k(train_features, train_labels, temperature) if k is None else k
    predicted = predict(train_features, train_labels, test_features, k, temperature)
    return float((predicted == test_labels).mean()), {"k": int(k), "temperature": temperature}
