import numpy as np
import pytest
from reference import memory_numpy, presets

from zoo.tools import leak


@pytest.mark.parametrize(("rivals", "met"), [(9, [(1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2)]), (1, [1, 2, 3, 0])])
def test_counts_queries_whose_key_beats_those_of_other_batches(rivals, met):
    random = np.random.default_rng(0)
    queries = random.normal(size=(4, 4, 5))
    own, keys = (memory_numpy.unit(queries + random.normal(size=(4, 4, 5))) for _ in range(2))
    queries = memory_numpy.unit(queries)
    hits = []
    for batch in range(4):
        others = keys[np.atleast_1d(met[batch])].reshape(-1, 5)
        for query, key in zip(queries[batch], own[batch], strict=True):
            hits.append(query @ key > (others @ query).max())
    assert leak.found(queries, own, keys, rivals) == np.mean(hits) and 0 < np.mean(hits) < 1


def test_keys_of_the_own_batch_do_not_count():
    queries = np.zeros((2, 3, 6))
    queries[0, :, 0] = queries[1, :, 1] = 1
    assert leak.found(queries, queries, queries, 1) == 1.0  # each batch is of one mind, and the other far away


class Grays:
    """Images without any difference, but for the first of every group, whose color no other has."""

    def __init__(self, size, group):
        self.size, self.ids = size, np.arange(size)
        self.pixels = np.full((size, *presets.SHAPE), 128, "uint8")
        self.pixels[::group] = np.random.default_rng(0).integers(0, 256, (len(self.pixels[::group]), 1, 1, 3))

    def fetch(self, rows):
        return self.pixels[rows]


def measured(bn_groups, size, batch):
    method = presets.begun("moco_v2", bn_groups=bn_groups)
    return leak.measure(method, lambda images, seed: (images, images), Grays(size, batch // bn_groups), batch)


def test_plain_batch_norm_tells_grays_apart_by_their_batch():
    shares = measured(bn_groups=1, size=64, batch=8)
    assert shares["together"] > 0.8 and shares["apart"] < 0.2


def test_split_batch_norm_with_shuffled_keys_does_not():
    shares = measured(bn_groups=4, size=64, batch=16)
    assert shares["together"] < 0.3 and abs(shares["together"] - shares["apart"]) < 0.05


def test_keys_that_are_encoded_apart_come_back_in_the_order_of_the_queries():
    """With statistics that do not matter, companions do not either."""
    method = presets.begun("moco_v2", bn_groups=2)
    for layer in [*method.query_encoder.encoder.layers, *method.key_encoder.network.encoder.layers]:
        layer.trainable = False  # batch norm then uses its moving averages
    data = Grays(64, 1)
    shares = leak.measure(method, lambda images, seed: (images, images), data, 8)
    assert min(shares.values()) > 0.95


@pytest.mark.parametrize("name", ["insdis", "infomin", "cmc_v2"])
def test_refuses_methods_other_than_moco(name):
    title = name.replace("_", "")
    with pytest.raises(ValueError, match=f"--workdir: expected a run of MoCo. Received: {title}"):
        leak.measure(presets.begun(name), None, None, 8)


def test_refuses_data_too_few_to_keep_the_keys_of_a_batch_apart():
    with pytest.raises(ValueError, match="expected 64 images or more.* Received: 63"):
        measured(bn_groups=1, size=63, batch=8)
