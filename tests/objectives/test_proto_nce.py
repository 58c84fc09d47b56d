import numpy as np
import pytest
from keras import ops
from reference import autodiff, contrast_numpy, family_numpy, memory_numpy

from zoo.objectives import proto_nce

B, K, D = 7, 5, 4
RANDOM = np.random.default_rng(1)
QUERY, CENTERS = (memory_numpy.unit(RANDOM.normal(size=(count, D))) for count in (B, K))
CONCENTRATIONS, CLUSTER = RANDOM.uniform(0.1, 0.4, K), RANDOM.integers(0, K, B).astype("int32")


def tensors(*arrays):
    return [ops.convert_to_tensor(np.asarray(z, "int32" if z.dtype.kind == "i" else "float32")) for z in arrays]


def loss(query=QUERY, centers=CENTERS, concentrations=CONCENTRATIONS, cluster=CLUSTER, drawn=None):
    given = tensors(query, centers, concentrations, cluster)
    values, logs = proto_nce.proto_nce(*given, None if drawn is None else tensors(drawn)[0])
    return ops.convert_to_numpy(values), float(logs["prototype_accuracy"])


@pytest.mark.parametrize("drawn", [None, np.array([3, 0]), np.array([1, 2, 4])])
def test_equals_the_paper(drawn):
    numbers = np.arange(K) if drawn is None else drawn
    expected = family_numpy.proto_nce(QUERY, CENTERS, CONCENTRATIONS, CLUSTER, numbers)
    np.testing.assert_allclose(loss(drawn=drawn)[0], expected, rtol=1e-5)


def test_gradient_is_that_of_the_transcription():
    rest = tensors(CENTERS, CONCENTRATIONS, CLUSTER)
    _, (found,) = autodiff.value_and_gradients(lambda query: proto_nce.proto_nce(query, *rest)[0], QUERY)
    expected = contrast_numpy.numeric_gradient(
        lambda query: (
            family_numpy.proto_nce(query, CENTERS, CONCENTRATIONS, CLUSTER, np.arange(K)) @ np.arange(1, B + 1)
        ),
        QUERY,
    )
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_one_cluster_costs_nothing():
    value, accuracy = loss(centers=CENTERS[:1], concentrations=CONCENTRATIONS[:1], cluster=np.zeros(B, int))
    np.testing.assert_array_equal(value, np.zeros(B))
    assert accuracy == 1


def test_images_at_their_centers_are_all_right():
    assert loss(query=CENTERS[CLUSTER], concentrations=np.full(K, 0.1))[1] == 1


def test_concentrations_equal_the_paper():
    embeddings = memory_numpy.unit(RANDOM.normal(size=(200, D)))
    cluster = RANDOM.integers(0, 18, 200)
    cluster[:3] = 18, 19, 19  # a cluster of one image, and one of two
    centers = np.stack([embeddings[cluster == c].mean(axis=0) for c in range(20)])
    distances = np.linalg.norm(embeddings - centers[cluster], axis=1)
    found = proto_nce.concentrations(distances, cluster, 20, 0.2)
    np.testing.assert_allclose(found, family_numpy.concentrations(embeddings, centers, cluster, 0.2), rtol=1e-5)
    assert found.mean() == pytest.approx(0.2)


@pytest.mark.parametrize("count", [1, 4])
def test_concentrations_of_collapsed_embeddings_are_the_temperature(count):
    found = proto_nce.concentrations(np.zeros(12), np.arange(12) % count, count, 0.1)
    np.testing.assert_allclose(found, 0.1)


def test_an_empty_cluster_has_a_finite_concentration():
    assert np.isfinite(proto_nce.concentrations(np.ones(6), np.zeros(6, int), 3, 0.1)).all()


def test_clusters_of_equal_images_keep_a_temperature():
    distances, cluster = np.where(np.arange(80) < 40, 0.0, 0.5), np.repeat(np.arange(20), 4)
    found = proto_nce.concentrations(distances, cluster, 20, 0.2)
    assert found.min() == pytest.approx(0.01 * found.max()) and found.mean() == pytest.approx(0.2)
