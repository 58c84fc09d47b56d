"""Weighted nearest neighbours on frozen features (Wu et al., 2018, "Unsupervised Feature Learning via Non-Parametric
Instance Discrimination", https://arxiv.org/abs/1805.01978, Section 3.4).

Exact search. Where similarities are equal, the training example that comes first is the nearer one; where votes are
equal, the lower class wins.
"""

import functools

import numpy as np
from keras import ops

from zoo import engine
from zoo.transfer import splits

# Among which the number of neighbours is chosen where labels are few.
CANDIDATES = (1, 5, 10, 20, 50, 200)
_NEVER = -np.float32(np.inf)
_BLOCK = 2**25  # similarities held at once: 128 MiB


def _chunk(k, count):
    """How many keys form a chunk; there are more chunks than k, if there are more keys."""
    return max(1, round((count / k) ** 0.5))


@functools.lru_cache(maxsize=16)
def _search(k, count, leave_one_out):
    """Function of queries, keys and the key that each query must not find: similarities and rows of the k nearest.

    Exact, in two stages, since sorting costs more than comparing: the k nearest lie in the k chunks of keys whose
    nearest members are nearest. Both stages prefer the lower of two equals, so that together they do.

    Args:
        k: how many.
        count: of keys, n; copies of the last fill its chunk.
        leave_one_out: whether the third argument counts; otherwise it is -1.
    """
    chunk = _chunk(k, count)
    chunks = -(-count // chunk)

    def nearest(queries, keys, own):
        similarities = ops.matmul(queries, keys)  # [q, chunks * chunk]
        batch = ops.shape(similarities)[0]
        parts = ops.reshape(similarities, (-1, chunk))  # [q * chunks, chunk]
        highest = ops.reshape(ops.max(parts, axis=1), (batch, chunks))
        # The key that does not count may have raised its chunk above one that does: with one more, none is missed.
        near = ops.sort(ops.top_k(highest, k + leave_one_out, sorted=False)[1], axis=1)  # [q, k], or k + 1
        kept = ops.take(parts, near + chunks * ops.arange(batch, dtype="int32")[:, None], axis=0)  # [q, k, chunk]
        if leave_one_out or chunks * chunk > count:
            rows = near[:, :, None] * chunk + np.arange(chunk, dtype="int32")  # [q, k, chunk]
            counts = ops.logical_and(rows < count, rows != own[:, None, None])
            kept = ops.where(counts, kept, _NEVER)
        values, places = ops.top_k(ops.reshape(kept, (batch, -1)), k)  # [q, k]
        return values, ops.take_along_axis(near, places // chunk, axis=1) * chunk + places % chunk

    return engine.current().compiled(nearest)


def _unit(features):
    features = np.asarray(features, np.float32)
    # A feature of zero length has no direction: similarity 0 to everything.
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def neighbours(train_features, features, k, leave_one_out=False):
    """The nearest training examples by cosine.

    Args:
        train_features: `[n, F]`.
        features: `[m, F]`; with `leave_one_out` the training features themselves.
        k: how many, at most n, or n - 1 with `leave_one_out`.
        leave_one_out: whether row i of `features` is row i of the training features, and must not find itself.

    Returns:
        Similarities float32 `[m, k]`, descending, and rows int64 `[m, k]`.

    Raises:
        ValueError: more neighbours than there are examples.
    """
    if len(np.shape(train_features)) != 2 or np.shape(train_features)[1:] != np.shape(features)[1:]:
        raise ValueError(
            "knn: expected two matrices of as many features each. "
            f"Received: shapes {np.shape(train_features)} and {np.shape(features)}."
        )
    most = len(train_features) - bool(leave_one_out)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= most:
        raise ValueError(f"knn: expected an integer from 1 to the {most} training examples. Received: k={k!r}.")
    k, keys, queries = int(k), _unit(train_features), _unit(features)
    if missing := -len(keys) % _chunk(k, len(keys)):
        keys = np.pad(keys, ((0, missing), (0, 0)), mode="edge")
    # Transposed once: for every block of queries it would cost as much as a third of the product.
    keys = ops.transpose(ops.convert_to_tensor(keys))  # [F, n]
    nearest = _search(k, len(train_features), bool(leave_one_out))
    size = max(1, _BLOCK // len(train_features))
    own = np.arange(len(queries), dtype=np.int32) if leave_one_out else np.full(len(queries), -1, np.int32)
    similarities, rows = [], []
    for start in range(0, len(queries), size):
        part = slice(start, start + size)
        values, indices = nearest(queries[part], keys, own[part])
        similarities.append(ops.convert_to_numpy(values))
        rows.append(ops.convert_to_numpy(indices))
    return np.concatenate(similarities), np.concatenate(rows).astype(np.int64)


def votes(similarities, labels, temperature=0.07, classes=None):
    """Each neighbour votes for its class with weight exp(similarity / temperature).

    Args:
        similarities: `[m, k]`.
        labels: of the neighbours, int64 `[m, k]`.
        temperature: positive float.
        classes: number of classes; the highest label + 1 by default.

    Returns:
        float64 `[m, classes]`, the votes relative to the vote of the nearest neighbour.
    """
    if not temperature > 0:
        raise ValueError(f"knn: expected `temperature` > 0. Received: temperature={temperature}.")
    classes = int(labels.max()) + 1 if classes is None else classes
    similarities = np.asarray(similarities, np.float64)
    # Relative to the nearest, as exp(1 / temperature) may be too large for a float.
    weights = np.exp((similarities - similarities[:, :1]) / temperature)  # [m, k]
    cells = np.arange(len(labels))[:, None] * classes + labels  # [m, k]
    flat = np.bincount(cells.ravel(), weights.ravel(), minlength=len(labels) * classes)
    return flat.reshape(len(labels), classes)


def chosen_k(features, labels, temperature=0.07, candidates=CANDIDATES):
    """The number of neighbours under which most training examples are classified right by the others.

    Leave-one-out uses training examples only. The smallest wins where several are equally good; candidates beyond the
    number of other examples are left out.

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
    similarities, rows = neighbours(features, features, possible[-1], leave_one_out=True)
    right = []
    for k in possible:
        won = votes(similarities[:, :k], labels[rows[:, :k]], temperature).argmax(axis=1)
        right.append(int((won == labels).sum()))
    return possible[int(np.argmax(right))]


def predict(train_features, train_labels, features, k=200, temperature=0.07):
    """The class of each example by the weighted vote of its neighbours, int64 `[m]`.

    Args:
        train_features: `[n, F]`.
        train_labels: int64 `[n]`, >= 0.
        features: `[m, F]`.
        k: neighbours, at most n.
        temperature: positive float; 0.07 in the paper.
    """
    train_labels = splits.check("knn", train_labels, len(train_features))
    similarities, rows = neighbours(train_features, features, k)
    return votes(similarities, train_labels[rows], temperature).argmax(axis=1)


def knn_accuracy(train_features, train_labels, test_features, test_labels, k=200, temperature=0.07):
    """Test accuracy of weighted nearest neighbours.

    Args:
        train_features: `[n, F]`.
        train_labels: int64 `[n]`, >= 0.
        test_features: `[m, F]`.
        test_labels: int64 `[m]`, >= 0.
        k: neighbours, at most n; 200 in the paper. None chooses among `CANDIDATES` by leave-one-out on the training
            examples.
        temperature: positive float; 0.07 in the paper.

    Returns:
        Accuracy in [0, 1], and a dict of the settings used.
    """
    test_labels = splits.check("knn", test_labels, len(test_features))
    k = chosen_k(train_features, train_labels, temperature) if k is None else k
    predicted = predict(train_features, train_labels, test_features, k, temperature)
    return float((predicted == test_labels).mean()), {"k": int(k), "temperature": temperature}
