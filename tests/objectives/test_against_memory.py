import numpy as np
import pytest
from keras import ops
from reference import autodiff, contrast_numpy, memory_numpy

from zoo import replicas
from zoo.objectives import info_nce, nce

B, K, D = 5, 7, 4


def rows(*shape, seed=0):
    return memory_numpy.unit(np.random.default_rng(seed).normal(size=shape))


def float32(*arrays):
    return [ops.convert_to_tensor(array.astype("float32")) for array in arrays]


QUERY, POSITIVE = rows(B, D, seed=1), rows(B, D, seed=2)
WEIGHTS = np.arange(1, B + 1)  # those of `autodiff`
ALLOWED = np.random.default_rng(3).uniform(size=(B, K)) < 0.7
CASES = {
    "shared": (rows(K, D, seed=4), None),
    "own": (rows(B, K, D, seed=5), None),
    "shared, some forbidden": (rows(K, D, seed=4), ALLOWED),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_info_nce_equals_the_paper(case, temperature):
    negatives, allowed = CASES[case]
    loss, _ = info_nce.against_memory(*float32(QUERY, POSITIVE, negatives), temperature, allowed)
    np.testing.assert_allclose(loss, memory_numpy.info_nce(QUERY, POSITIVE, negatives, temperature, allowed), rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["info_nce", "nce"])
def test_gradients_are_those_of_the_transcription(kind, case):
    negatives, allowed = CASES[case]
    normalizer, population = 40.0, 30
    positive32, negatives32 = float32(POSITIVE, negatives)

    def losses(query):
        if kind == "info_nce":
            return info_nce.against_memory(query, positive32, negatives32, 0.5, allowed)[0]
        return nce.nce(query, positive32, negatives32, 0.5, np.log(normalizer), population, allowed)[0]

    def weighted(query):
        if kind == "info_nce":
            return memory_numpy.info_nce(query, POSITIVE, negatives, 0.5, allowed) @ WEIGHTS
        return memory_numpy.nce(query, POSITIVE, negatives, 0.5, normalizer, population, allowed) @ WEIGHTS

    _, (found,) = autodiff.value_and_gradients(losses, QUERY)
    np.testing.assert_allclose(found, contrast_numpy.numeric_gradient(weighted, QUERY), atol=1e-4 * WEIGHTS.max())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rows", [2, 3, 7, 8])
@pytest.mark.parametrize("temperature", [0.5, 0.005])
def test_blocks_give_the_loss_of_all_negatives(case, rows, temperature, monkeypatch):
    """Seven negatives in blocks that fit, that leave a rest, and in a single block."""
    monkeypatch.setattr(info_nce, "_ROWS", rows)
    negatives, allowed = CASES[case]
    (negatives32,) = float32(negatives)

    def in_blocks(query, positive):
        return info_nce.against_memory(query, positive, negatives32, temperature, allowed)[0]

    def plain(query, positive):
        positive, others = info_nce.logits(query, positive, negatives32, temperature)
        others = others if allowed is None else ops.where(allowed, others, -1e9)
        return ops.logsumexp(ops.concatenate([positive[:, None], others], axis=1), axis=1) - positive

    found = autodiff.value_and_gradients(in_blocks, QUERY, POSITIVE)
    expected = autodiff.value_and_gradients(plain, QUERY, POSITIVE)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5 / temperature)
    for gradient, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(gradient, other, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("case", CASES)
def test_nce_equals_the_paper(case):
    negatives, allowed = CASES[case]
    loss, _ = nce.nce(*float32(QUERY, POSITIVE, negatives), 0.3, np.log(55.0), 100, allowed)
    expected = memory_numpy.nce(QUERY, POSITIVE, negatives, 0.3, 55.0, 100, allowed)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


@pytest.mark.parametrize("allowed", [None, ALLOWED])
def test_partition_is_the_mean_over_all_candidates_times_the_population(allowed):
    negatives = rows(K, D, seed=4)
    found = nce.log_partition(*float32(QUERY, POSITIVE, negatives), 0.07, 1000, replicas.Alone(), allowed)
    scores = (QUERY @ negatives.T)[np.ones((B, K), bool) if allowed is None else allowed]
    scores = np.concatenate([np.sum(QUERY * POSITIVE, axis=1), scores])
    np.testing.assert_allclose(found, np.log(1000 * np.exp(scores / 0.07).mean()), rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_identical_embeddings_cost_the_logarithm_of_the_candidates(temperature):
    same = np.tile(rows(1, D), (B, 1))
    loss, logs = info_nce.against_memory(*float32(same, same, np.tile(same[:1], (K, 1))), temperature)
    np.testing.assert_allclose(loss, np.full(B, np.log(1 + K)), rtol=1e-5)
    assert float(logs["contrast_accuracy"]) == 0  # ties are no hits


def test_without_negatives_the_loss_is_zero():
    empty = np.zeros((0, D))
    for negatives, allowed in ((empty, None), (rows(K, D), np.zeros((B, K), bool))):
        loss, _ = info_nce.against_memory(*float32(QUERY, POSITIVE, negatives), 0.07, allowed)
        np.testing.assert_allclose(loss, np.zeros(B), atol=1e-7)


def test_one_negative_gives_logistic_regression():
    other = rows(1, D, seed=9)
    loss, _ = info_nce.against_memory(*float32(QUERY, POSITIVE, other), 0.2)
    margin = (np.sum(QUERY * POSITIVE, axis=1) - QUERY @ other[0]) / 0.2
    np.testing.assert_allclose(loss, np.log1p(np.exp(-margin)), rtol=1e-4)


def test_order_of_the_negatives_does_not_matter():
    negatives = rows(K, D, seed=4)
    forward, backward = (
        info_nce.against_memory(*float32(QUERY, POSITIVE, n), 0.07)[0] for n in (negatives, negatives[::-1])
    )
    np.testing.assert_allclose(forward, backward, rtol=1e-5)


def test_low_temperatures_stay_finite():
    far = -np.tile(QUERY[:1], (K, 1))
    loss, _ = info_nce.against_memory(*float32(QUERY, QUERY, far), 1e-3)
    assert np.isfinite(ops.convert_to_numpy(loss)).all()


def test_accuracy_counts_the_queries_whose_positive_is_nearest():
    query = np.eye(3)[[0, 1]]
    _, logs = info_nce.against_memory(*float32(query, np.eye(3)[[0, 2]], np.eye(3)[[1]]), 0.1)
    assert float(logs["contrast_accuracy"]) == 0.5
