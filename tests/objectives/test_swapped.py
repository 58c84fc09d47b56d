import numpy as np
import pytest
from keras import ops
from reference import family_numpy, memory_numpy

from zoo import replicas
from zoo.objectives import swapped

N, K = 24, 5
SCORES = (
    memory_numpy.unit(np.random.default_rng(1).normal(size=(N, 4)))
    @ memory_numpy.unit(np.random.default_rng(2).normal(size=(K, 4))).T
)


def sinkhorn(scores=SCORES, epsilon=0.05, iterations=3, weight=None, group=None):
    weight = None if weight is None else ops.convert_to_tensor(np.asarray(weight, "float32"))
    scores = ops.convert_to_tensor(np.asarray(scores, "float32"))
    return ops.convert_to_numpy(swapped.sinkhorn(scores, epsilon, iterations, group or replicas.Alone(), weight))


class Sums(replicas.Alone):
    """A replica whose sums include those of another one, which are given in order."""

    count = 2

    def __init__(self, others):
        self.others, self.own = list(others), []

    def sum(self, value):
        self.own.append(value)
        return value + self.others.pop(0)


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [0.03, 0.05, 1.0])
def test_equals_the_paper(epsilon, iterations):
    expected = family_numpy.sinkhorn(SCORES, epsilon, iterations)
    np.testing.assert_allclose(sinkhorn(epsilon=epsilon, iterations=iterations), expected, rtol=1e-3, atol=1e-6)


def test_marginals_are_uniform_in_the_limit():
    codes = sinkhorn(epsilon=0.25, iterations=500)
    np.testing.assert_allclose(codes.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(codes.sum(axis=0) / N, 1 / K, atol=1e-5)


def test_rows_sum_to_one_after_any_number_of_iterations():
    for iterations in (1, 3):
        np.testing.assert_allclose(sinkhorn(iterations=iterations).sum(axis=1), 1, rtol=1e-5)


def test_one_prototype_takes_every_image():
    np.testing.assert_allclose(sinkhorn(SCORES[:, :1]), 1, rtol=1e-6)


def test_rows_without_weight_do_not_count():
    weight = np.arange(N) < 16
    found = sinkhorn(weight=weight)
    np.testing.assert_allclose(found[:16], sinkhorn(SCORES[:16]), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(found[16:], 0)


@pytest.mark.parametrize("scale", [1, 100, 1e4])
def test_is_finite_whatever_the_scores(scale):
    """Also where prototypes are so far from all images that their column underflows."""
    codes = sinkhorn(SCORES * scale)
    assert np.isfinite(codes).all()
    np.testing.assert_allclose(codes.sum(axis=1), 1, rtol=1e-4)


def test_replicas_give_the_assignments_of_the_global_batch():
    """The sums over the other replica's rows, at every iteration, come from a run of the global batch."""
    expected, half = sinkhorn(), N // 2
    kernel = np.exp((SCORES - SCORES.max(axis=1, keepdims=True)) / 0.05)
    rows, others = np.exp((SCORES.max(axis=1) - 1) / 0.05), []
    for _ in range(3):
        others.append((rows[half:] @ kernel[half:]).astype("float32"))
        columns = N / K / (rows @ kernel)
        rows = 1 / (kernel @ columns)
    group = Sums([np.float32(half), *others])
    np.testing.assert_allclose(sinkhorn(SCORES[:half], group=group), expected[:half], rtol=1e-3, atol=1e-6)
    assert len(group.own) == 4


def test_swapped_prediction_equals_the_paper():
    codes = family_numpy.sinkhorn(SCORES, 0.05, 3)
    found, logs = swapped.swapped_prediction(
        *(ops.convert_to_tensor(z.astype("float32")) for z in (SCORES[::-1].copy(), codes)), 0.1
    )
    np.testing.assert_allclose(found, family_numpy.swapped_prediction(SCORES[::-1], codes, 0.1), rtol=1e-5, atol=1e-6)
    hits = SCORES[::-1].argmax(axis=1) == codes.argmax(axis=1)
    assert float(logs["prototype_accuracy"]) == pytest.approx(hits.mean())


def test_equal_scores_cost_the_log_of_the_prototypes():
    equal = ops.ones((N, K))
    loss, logs = swapped.swapped_prediction(equal, equal / K, 0.1)
    np.testing.assert_allclose(loss, np.log(K), rtol=1e-6)
    assert float(logs["prototype_accuracy"]) == 0 and float(logs["num_candidates"]) == K  # ties are no hits
