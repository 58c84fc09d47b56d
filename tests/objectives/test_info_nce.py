import keras
import numpy as np
import pytest
from keras import ops
from reference import autodiff
from reference import contrast_numpy as reference

from zoo import replicas
from zoo.objectives import info_nce

ALONE = replicas.Alone()


def unit(seed, batch=7, width=5):
    z = np.random.default_rng(seed).normal(size=(batch, width)).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def loss(a, b, temperature=0.5, group=ALONE):
    values, logs = info_nce.nt_xent(ops.convert_to_tensor(a), ops.convert_to_tensor(b), temperature, group)
    return ops.convert_to_numpy(values), {name: float(value) for name, value in logs.items()}


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_equals_algorithm_1(temperature):
    a, b = unit(0), unit(1)
    np.testing.assert_allclose(loss(a, b, temperature)[0], reference.nt_xent(a, b, temperature), rtol=2e-5)


def test_gradient_equals_central_differences():
    a, b = unit(2, batch=4), unit(3, batch=4)

    def weighted(x):  # without the normalization of x
        losses = np.zeros(4)
        for own, other in ((x, b), (b, x)):
            logits = np.concatenate([own @ other.T, own @ own.T], axis=1) / 0.5
            for i in range(4):
                losses[i] += np.log(np.exp(np.delete(logits[i], 4 + i)).sum()) - logits[i, i]
        return losses @ [1, 2, 3, 4] / 2

    _, (found,) = autodiff.value_and_gradients(
        lambda a: info_nce.nt_xent(a, ops.convert_to_tensor(b), 0.5, ALONE)[0], a
    )
    expected = reference.numeric_gradient(weighted, a.astype(np.float64))
    np.testing.assert_allclose(found, expected, atol=8e-5)


@pytest.mark.parametrize("batch", [2, 7, 64])
def test_equal_embeddings_cost_log_of_the_candidates(batch):
    z = np.tile(unit(0, batch=1), (batch, 1))
    np.testing.assert_allclose(loss(z, z)[0], np.log(2 * batch - 1), rtol=1e-5)


def test_perfect_alignment_costs_nothing_at_low_temperatures():
    z = np.eye(6, dtype=np.float32)
    values, logs = loss(z, z, temperature=0.01)
    np.testing.assert_allclose(values, 0, atol=1e-6)
    assert logs["contrast_accuracy"] == 1


def test_is_symmetric_in_the_views():
    a, b = unit(0), unit(1)
    np.testing.assert_allclose(loss(a, b)[0], loss(b, a)[0], rtol=1e-6)


def test_follows_a_permutation_of_the_batch():
    a, b, order = unit(0), unit(1), np.random.default_rng(2).permutation(7)
    np.testing.assert_allclose(loss(a[order], b[order])[0], loss(a, b)[0][order], rtol=1e-5)


def test_ignores_a_rotation_of_the_sphere():
    a, b = unit(0), unit(1)
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0].astype(np.float32)
    np.testing.assert_allclose(loss(a @ rotation, b @ rotation)[0], loss(a, b)[0], rtol=1e-5)


def test_accuracy_counts_the_anchors_whose_positive_is_nearest():
    a = np.eye(4, dtype=np.float32)
    swapped = a[[1, 0, 2, 3]]  # the views of images 0 and 1 are exchanged
    assert loss(a, swapped)[1]["contrast_accuracy"] == pytest.approx(0.5)


def test_negatives_of_all_replicas_count():
    """Two replicas that hold half of the batch each give the losses of the whole batch."""
    a, b = unit(0, batch=8), unit(1, batch=8)

    class Half(replicas.Alone):
        count = 2

        def __init__(self, index):
            self.index = index

        def gather(self, rows):
            whole = a if np.array_equal(rows, a[self.index * 4 : self.index * 4 + 4]) else b
            return ops.convert_to_tensor(whole)

    halves = [loss(a[i * 4 : i * 4 + 4], b[i * 4 : i * 4 + 4], group=Half(i))[0] for i in range(2)]
    np.testing.assert_allclose(np.concatenate(halves), loss(a, b)[0], rtol=1e-5)


def test_half_precision_is_computed_in_float32():
    a, b = unit(0), unit(1)
    half = info_nce.nt_xent(ops.cast(a, "bfloat16"), ops.cast(b, "bfloat16"), 0.1, ALONE)[0]
    assert keras.backend.standardize_dtype(half.dtype) == "float32"
    rounded = [ops.convert_to_numpy(ops.cast(ops.cast(z, "bfloat16"), "float32")) for z in (a, b)]
    np.testing.assert_allclose(ops.convert_to_numpy(half), loss(*rounded, 0.1)[0], rtol=1e-5)


def test_logs_compare_the_loss_with_that_of_guessing():
    point = ops.convert_to_tensor(np.tile(np.eye(4, dtype="float32")[:1], (6, 1)))
    for logs, candidates in (
        (info_nce.nt_xent(point, point, 0.5, ALONE)[1], 11),
        (info_nce.nt_xent_plain(point, point, 0.5, ALONE)[1], 11),
        (info_nce.against_memory(point, point, point[:5], 0.5)[1], 6),
        (info_nce.against_memory(point, point, ops.stack([point] * 6), 0.5)[1], 7),
    ):
        assert float(logs["num_candidates"]) == candidates
        assert float(logs["contrast_loss"]) == pytest.approx(np.log(candidates), rel=1e-5)
