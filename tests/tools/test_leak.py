import numpy as np
from reference import memory_numpy

from zoo.tools import leak


def test_counts_queries_whose_key_beats_those_of_other_batches():
    random = np.random.default_rng(0)
    queries, keys = (memory_numpy.unit(random.normal(size=(3, 4, 5))) for _ in range(2))
    hits = []
    for batch in range(3):
        others = np.concatenate([keys[other] for other in range(3) if other != batch])
        for query, key in zip(queries[batch], keys[batch], strict=True):
            hits.append(query @ key > (others @ query).max())
    assert leak.found(queries, keys) == np.mean(hits) and 0 < np.mean(hits) < 1


def test_keys_of_the_own_batch_do_not_count():
    queries = np.zeros((2, 3, 6))
    queries[0, :, 0] = queries[1, :, 1] = 1
    assert leak.found(queries, queries) == 1.0  # each batch is of one mind, and the other far away
