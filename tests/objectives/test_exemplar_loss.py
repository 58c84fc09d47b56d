import numpy as np
import pytest
from keras import ops
from reference import autodiff, contrast_numpy, family_numpy, memory_numpy

from zoo.objectives import exemplar, info_nce

B, K, D = 6, 9, 4
LOSSES = {"own": (exemplar.exemplar, family_numpy.exemplar), "class": (exemplar.unified, family_numpy.unified)}
EVERY = np.ones((B, K), bool)


def rows(count, seed):
    return memory_numpy.unit(np.random.default_rng(seed).normal(size=(count, D)))


QUERY, KEY, QUEUE = rows(B, 1), rows(B, 2), rows(K, 3)
LABELS, QUEUE_LABELS = np.array([0, 1, 2, 0, -1, 5]), np.array([0, 0, 1, 2, 2, -1, 1, 3, 0])


def loss(kind, labels=LABELS, queue_labels=QUEUE_LABELS, temperature=0.2, allowed=EVERY, queue=QUEUE, query=QUERY):
    same = exemplar.same_class(*(ops.convert_to_tensor(values.astype("int32")) for values in (labels, queue_labels)))
    arrays = [ops.convert_to_tensor(np.asarray(z, "float32")) for z in (query, KEY, queue)]
    values, logs = LOSSES[kind][0](*arrays, same, temperature, ops.convert_to_tensor(allowed))
    return ops.convert_to_numpy(values), float(logs["contrast_accuracy"])


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_equals_the_paper(kind, temperature):
    expected = LOSSES[kind][1](QUERY, KEY, QUEUE, LABELS, QUEUE_LABELS, temperature)
    np.testing.assert_allclose(loss(kind, temperature=temperature)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
def test_gradients_are_those_of_the_transcription(kind):
    same = ops.convert_to_tensor((LABELS[:, None] == QUEUE_LABELS) & (LABELS[:, None] >= 0))
    key, queue = (ops.convert_to_tensor(z.astype("float32")) for z in (KEY, QUEUE))

    def found(query):
        return LOSSES[kind][0](query, key, queue, same, 0.5, ops.convert_to_tensor(EVERY))[0]

    def weighted(query):
        return LOSSES[kind][1](query, KEY, QUEUE, LABELS, QUEUE_LABELS, 0.5) @ np.arange(1, B + 1)

    _, (gradient,) = autodiff.value_and_gradients(found, QUERY)
    np.testing.assert_allclose(gradient, contrast_numpy.numeric_gradient(weighted, QUERY), atol=1e-3)


@pytest.mark.parametrize("kind", LOSSES)
def test_is_moco_where_no_class_is_shared(kind):
    arrays = [ops.convert_to_tensor(z.astype("float32")) for z in (QUERY, KEY, QUEUE)]
    expected = ops.convert_to_numpy(info_nce.against_memory(*arrays, 0.2)[0])
    for labels, queue_labels in ((np.arange(B), 100 + np.arange(K)), (np.full(B, -1), np.full(K, -1))):
        np.testing.assert_allclose(loss(kind, labels, queue_labels)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_queue_of_the_own_class_costs_nothing(kind):
    value, accuracy = loss(kind, np.full(B, 4), np.full(K, 4))
    np.testing.assert_array_equal(value, np.zeros(B))
    assert accuracy == 1


@pytest.mark.parametrize("kind", LOSSES)
def test_keys_of_the_own_image_are_left_out(kind):
    allowed = np.ones((B, K), bool)
    allowed[:, :4] = False
    expected = loss(kind, queue_labels=QUEUE_LABELS[4:], allowed=allowed[:, 4:], queue=QUEUE[4:])[0]
    np.testing.assert_allclose(loss(kind, allowed=allowed)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
def test_the_order_of_the_queue_does_not_matter(kind):
    order = np.random.default_rng(5).permutation(K)
    permuted = loss(kind, queue_labels=QUEUE_LABELS[order], queue=QUEUE[order])
    np.testing.assert_allclose(permuted[0], loss(kind)[0], rtol=1e-5)


def test_same_class_keys_pull_in_one_reading_only():
    """The gradient toward a key of the same class: none for Exemplar, attraction for UniMoCo."""
    near = memory_numpy.unit(QUEUE + 0.5 * QUERY[:1])  # the queue moved toward the first query
    labels, queue_labels = np.full(B, 1), np.array([1] * 5 + [0] * 4)
    mixed = np.concatenate([near[:5], QUEUE[5:]])
    assert loss("own", labels, queue_labels, queue=mixed)[0][0] == loss("own", labels, queue_labels)[0][0]
    assert loss("class", labels, queue_labels, queue=mixed)[0][0] < loss("class", labels, queue_labels)[0][0]


@pytest.mark.parametrize("kind", LOSSES)
def test_is_finite_at_extreme_similarities(kind):
    for query in (KEY, -KEY):
        assert np.isfinite(loss(kind, temperature=0.005, query=query)[0]).all()
