import contract
import family_contract
import numpy as np
import pytest
from keras import ops
from reference import family, family_numpy, memory_numpy

from zoo import seeds
from zoo.methods import clustering


class TestPCL(family_contract.OfFamily):
    name = "pcl"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"clusters": (3, 64)}, "fewer clusters than the 64 images"),
            ({"clusters": ()}, "`clusters` to be one or more"),
            ({"negatives": 0}, "`negatives` to be a positive integer"),
            ({"warmup_epochs": -1}, "`warmup_epochs` to be a non-negative integer"),
        ],
    )
    def test_refuses_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            family.METHODS["pcl"](**arguments).begin(self.spec())

    def test_refuses_ids_with_gaps(self):
        with pytest.raises(ValueError, match="PCL: expected images with consecutive ids"):
            self.make().begin(self.spec(ids=np.arange(64) * 2))


EMBEDDINGS = memory_numpy.unit(np.random.default_rng(5).normal(size=(64, 4))).astype("float32")


def test_takes_the_two_steps_of_an_epoch_as_in_the_paper():
    """E: centers, temperatures and clusters of all images. M: MoCo's loss plus the mean of those of the clusterings."""
    method, step, batch = family_contract.begun("pcl", bn_groups=1), family_contract.step(5), family_contract.batch(1)
    networks = []
    method.new_epoch(1, lambda network: networks.append(network) or EMBEDDINGS)
    assert networks == [method.key_encoder.network]
    query, key = (
        ops.convert_to_numpy(network(view, training=True))
        for network, view in zip((method.query_encoder, method.key_encoder.network), batch.views, strict=True)
    )
    expected = memory_numpy.info_nce(query, key, ops.convert_to_numpy(method.queue.keys), 0.2)
    for number, count in enumerate((3, 5)):
        centers, cluster = clustering.kmeans(EMBEDDINGS, count, number)
        found = family_numpy.concentrations(EMBEDDINGS, centers, cluster, 0.2)
        np.testing.assert_allclose(method.clusterings[number].concentrations, found, rtol=1e-4)
        drawn = range(3) if count == 3 else drawn_of(method, batch, step)
        expected = expected + family_numpy.proto_nce(query, memory_numpy.unit(centers), found, cluster[8:16], drawn) / 2
    found, logs, _ = method.contrast(batch, step)
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    assert 0 <= float(logs["prototype_accuracy"]) <= 1


def drawn_of(method, batch, step):
    return ops.convert_to_numpy(seeds.Seed(1).fold(step.number).permutation(5))[: method.drawn]


def test_warm_up_is_moco():
    method, batch = family_contract.begun("pcl", bn_groups=1), family_contract.batch()
    before = contract.values(method.variables)
    method.new_epoch(0, lambda network: pytest.fail("nothing is extracted in the warm-up"))
    assert not contract.changed(method.variables, before)
    loss, logs, _ = method.contrast(batch, family_contract.step(3))
    query, key = (
        ops.convert_to_numpy(network(view, training=True))
        for network, view in zip((method.query_encoder, method.key_encoder.network), batch.views, strict=True)
    )
    expected = memory_numpy.info_nce(query, key, ops.convert_to_numpy(method.queue.keys), 0.2)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert float(logs["prototype_accuracy"]) == 0


def test_clusters_follow_the_ids_whatever_their_order():
    """Rows of the embeddings are in the order of `spec.ids`; images are looked up by id."""
    laws, order = TestPCL(), np.random.default_rng(6).permutation(64)
    found = []
    for ids in (100 + np.arange(64), 100 + order):
        method = laws.make()
        method.begin(laws.spec(ids=ids))
        method.new_epoch(1, lambda network, ids=ids: EMBEDDINGS[ids - 100])
        centers, _, cluster = method.clusterings[0].of(ops.arange(64))
        found.append(ops.convert_to_numpy(ops.take(centers, cluster, axis=0)))
    distance = [np.linalg.norm(EMBEDDINGS - centers, axis=1).mean() for centers in found]
    assert max(distance) < 0.9 * np.linalg.norm(EMBEDDINGS - np.roll(found[0], 1, axis=0), axis=1).mean()


def test_kmeans_is_lloyds_algorithm():
    """From the same start, which the seed determines: an iteration leaves every center at the mean of its members."""
    centers, cluster = clustering.kmeans(EMBEDDINGS, 6, seed=3, iterations=300)
    for number in range(6):
        np.testing.assert_allclose(centers[number], EMBEDDINGS[cluster == number].mean(axis=0), atol=1e-5)
    distances = np.linalg.norm(EMBEDDINGS[:, None] - centers, axis=2)
    np.testing.assert_array_equal(distances.argmin(axis=1), cluster)
    assert centers.dtype == np.float32 and cluster.dtype == np.int32


def test_kmeans_repeats_itself_bit_for_bit():
    z = np.random.default_rng(0).normal(size=(5000, 16)).astype("float32")
    first, again = (clustering.kmeans(z, 50, seed=1) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(clustering.kmeans(z, 50, seed=2)[1] != first[1])


@pytest.mark.parametrize(
    ("embeddings", "message"), [(EMBEDDINGS[:4], "`count` of at most 4"), (EMBEDDINGS * np.nan, "finite embeddings")]
)
def test_kmeans_refuses(embeddings, message):
    with pytest.raises(ValueError, match=message):
        clustering.kmeans(embeddings, 5)
