import numpy as np
import pytest
from sklearn import datasets, neighbors

from zoo.transfer import knn


def from_the_paper(train, labels, test, k, temperature):
    """Section 3.4: w_c = sum over the k nearest of class c of exp(cosine / temperature); the largest wins."""
    predicted = []
    for query in test.astype(np.float64):
        cosine = train @ query / np.linalg.norm(train, axis=1) / np.linalg.norm(query)
        weights = np.zeros(labels.max() + 1)
        for row in np.argsort(-cosine, kind="stable")[:k]:
            weights[labels[row]] += np.exp(cosine[row] / temperature)
        predicted.append(weights.argmax())
    return np.array(predicted)


@pytest.fixture(scope="module")
def digits():
    x, y = datasets.load_digits(return_X_y=True)
    return x[:1000].astype(np.float32), y[:1000], x[1000:1300].astype(np.float32), y[1000:1300]


@pytest.mark.parametrize("k", [1, 7, 200])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_equals_the_paper(k, temperature):
    rng = np.random.default_rng(k)
    train, test = rng.standard_normal((300, 5)), rng.standard_normal((80, 5))
    labels = rng.integers(0, 4, 300)
    found = knn.predict(train, labels, test, k, temperature)
    np.testing.assert_array_equal(found, from_the_paper(train, labels, test, k, temperature))


@pytest.mark.parametrize("k", [1, 20])
def test_the_same_as_scikit_learn(digits, k):
    x, y, test, truth = digits

    def weight(distance):
        return np.exp((1 - distance) / 0.07)

    peer = neighbors.KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weight).fit(x, y)
    np.testing.assert_array_equal(knn.predict(x, y, test, k), peer.predict(test))
    accuracy, settings = knn.knn_accuracy(x, y, test, truth, k)
    assert accuracy == pytest.approx(peer.score(test, truth))
    assert settings == {"k": k, "temperature": 0.07}


def test_search_in_blocks_is_the_same(digits, monkeypatch):
    x, _, test, _ = digits
    whole = knn.neighbors(x, test, 9)
    monkeypatch.setattr(knn, "_BLOCK", 7 * len(x))
    for part, all_at_once in zip(knn.neighbors(x, test, 9), whole, strict=True):
        np.testing.assert_allclose(part, all_at_once, rtol=1e-6)


def test_cosine_ignores_lengths(digits):
    x, y, test, _ = digits
    lengths = np.random.default_rng(0).uniform(0.1, 10, (len(x), 1))
    np.testing.assert_array_equal(knn.predict(x, y, test, 5), knn.predict(x * lengths, y, test * 3, 5))


def test_votes_in_closed_form():
    similarities = np.array([[1.0, 0.5, 0.5]])
    found = knn.votes(similarities, np.array([[0, 1, 1]]), temperature=0.5)
    # Relative to the nearest: 1 against 2 exp(-0.5 / 0.5).
    np.testing.assert_allclose(found, [[1.0, 2 * np.exp(-1)]])
    # Where exp(1 / temperature) is beyond every float, the nearest wins alone.
    np.testing.assert_allclose(knn.votes(similarities, np.array([[0, 1, 1]]), 1e-4), [[1.0, 0.0]], atol=1e-12)


def test_ties_go_to_the_first():
    train = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    _, rows = knn.neighbors(train, np.array([[1.0, 0.0]]), 2)
    assert rows.tolist() == [[0, 1]]
    assert knn.predict(train, np.array([2, 1, 0]), np.array([[1.0, 0.0]]), 2).tolist() == [1]


def test_a_feature_without_direction_is_unlike_all():
    similarities, _ = knn.neighbors(np.eye(3), np.zeros((1, 3)), 3)
    assert similarities.tolist() == [[0, 0, 0]]


def test_leave_one_out_never_finds_itself(digits):
    x = np.concatenate([digits[0][:50], digits[0][:50]])  # every example has a twin
    similarities, rows = knn.neighbors(x, x, 1, leave_one_out=True)
    np.testing.assert_array_equal(rows[:, 0], (np.arange(100) + 50) % 100)
    np.testing.assert_allclose(similarities, 1, rtol=1e-5)


def test_k_is_chosen_by_the_other_training_examples(digits):
    x, y = digits[0][:60], digits[1][:60]
    right = {}
    for k in (1, 5, 10, 20, 50):
        others = [np.delete(np.arange(60), row) for row in range(60)]
        won = [from_the_paper(x[rows], y[rows], x[row : row + 1], k, 0.07)[0] for row, rows in enumerate(others)]
        right[k] = (np.array(won) == y).sum()
    assert knn.chosen_k(x, y) == max(right, key=lambda k: (right[k], -k))


def test_k_grows_where_single_neighbors_mislead():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    angle = y * 0.8 + rng.normal(0, 0.6, 400)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert knn.chosen_k(x, y) > 1


@pytest.mark.parametrize("k", [0, 4, 1.5, True])
def test_refuses_k(k):
    with pytest.raises(
        ValueError, match=r"knn: expected `k` to be an integer from 1 to the 3 training examples\. Received: k="
    ):
        knn.predict(np.eye(3), np.arange(3), np.eye(3), k)


def test_refuses_labels_and_temperatures():
    with pytest.raises(ValueError, match="a label >= 0 for every example. Received: 1 without"):
        knn.predict(np.eye(3), np.array([0, -1, 1]), np.eye(3), 1)
    with pytest.raises(ValueError, match="expected 3 integer labels"):
        knn.predict(np.eye(3), np.array([0, 1]), np.eye(3), 1)
    with pytest.raises(ValueError, match="same number of features"):
        knn.predict(np.eye(3), np.arange(3), np.eye(4), 1)
    with pytest.raises(ValueError, match="`temperature` > 0"):
        knn.predict(np.eye(3), np.arange(3), np.eye(3), 1, temperature=0)


@pytest.mark.parametrize("count", [997, 1000, 61])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_two_stages_prefer_the_lower_of_equals(count, leave_one_out):
    """Similarities are 0 or 1 exactly, most of them equal: a stable sort says which come first."""
    random = np.random.default_rng(count)
    keys = np.eye(3, dtype="float32")[random.integers(0, 3, count)]
    queries = keys if leave_one_out else np.eye(3, dtype="float32")
    similarities = queries @ keys.T
    if leave_one_out:
        np.fill_diagonal(similarities, -np.inf)
    for k in (1, 4, count // 2):
        expected = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        values, rows = knn.neighbors(keys, queries, k, leave_one_out)
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_array_equal(values, np.take_along_axis(similarities, expected, axis=1))
