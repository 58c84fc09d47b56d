import numpy as np
import pytest
from keras import ops
from reference import autodiff, contrast_numpy, family_numpy, groups, memory_numpy

from zoo import replicas
from zoo.objectives import info_nce, sup_con

B, D = 6, 4
LABELS = np.array([0, 1, 0, -1, 1, 2], "int32")


def rows(seed, count=B):
    return memory_numpy.unit(np.random.default_rng(seed).normal(size=(count, D)))


A, Z = rows(1), rows(2)


def loss(a=A, b=Z, labels=LABELS, temperature=0.2, group=None):
    tensors = [ops.convert_to_tensor(np.asarray(z, "float32")) for z in (a, b)]
    labels = ops.convert_to_tensor(labels.astype("int32"))
    values, logs = sup_con.sup_con(*tensors, labels, temperature, group or replicas.Alone())
    return ops.convert_to_numpy(values), float(logs["contrast_accuracy"])


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_equals_the_paper(temperature):
    expected = family_numpy.sup_con(A, Z, LABELS, temperature)
    np.testing.assert_allclose(loss(temperature=temperature)[0], expected, rtol=1e-5)


def test_gradient_is_that_of_the_transcription():
    b, labels = ops.convert_to_tensor(Z.astype("float32")), ops.convert_to_tensor(LABELS)
    _, (found,) = autodiff.value_and_gradients(lambda a: sup_con.sup_con(a, b, labels, 0.5, replicas.Alone())[0], A)
    expected = contrast_numpy.numeric_gradient(
        lambda a: family_numpy.sup_con(a, Z, LABELS, 0.5) @ np.arange(1, B + 1), A
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("labels", [np.arange(B), np.full(B, -1)])
def test_is_nt_xent_where_no_class_is_shared(labels):
    tensors = [ops.convert_to_tensor(z.astype("float32")) for z in (A, Z)]
    expected, logs = info_nce.nt_xent(*tensors, 0.2, replicas.Alone())
    found, accuracy = loss(labels=labels)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert accuracy == pytest.approx(float(logs["contrast_accuracy"]))


def test_one_class_of_equal_embeddings_costs_the_log_of_the_positives():
    same = np.tile(A[:1], (B, 1))
    np.testing.assert_allclose(loss(same, same, np.zeros(B))[0], np.log(2 * B - 1), rtol=1e-5)


def test_keeps_its_digits_where_an_anchor_is_almost_solved():
    """One positive at similarity 1 and negatives at -1: the loss is 2 exp(-2 / t) for two images, far below 1e-7."""
    a = np.array([[1.0, 0], [-1.0, 0]])
    found = loss(a, a, np.array([0, 1]), 0.1)[0]
    np.testing.assert_allclose(found, np.log1p(2 * np.exp(-20)), rtol=1e-3)


def test_views_may_change_places_and_images_their_order():
    order = np.random.default_rng(3).permutation(B)
    np.testing.assert_allclose(loss(Z, A)[0], loss()[0], rtol=1e-5)
    np.testing.assert_allclose(loss(A[order], Z[order], LABELS[order])[0], loss()[0][order], rtol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_replicas_give_the_losses_of_the_global_batch(count):
    share = B // count
    parts = []
    for index in range(count):
        here = slice(index * share, (index + 1) * share)
        member = groups.Member(index, count, [A.astype("float32"), Z.astype("float32"), LABELS])
        parts.append(loss(A[here], Z[here], LABELS[here], group=member)[0])
    np.testing.assert_allclose(np.concatenate(parts), loss()[0], rtol=1e-5)
