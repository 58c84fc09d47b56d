"""Batches from arrays without TensorFlow: the orders of `zoo.data.stream`, as plain iterators."""

import itertools

import numpy as np

from zoo import seeds


def epoch(number, count, batch_size, seed, shard=(0, 1)):
    """The rows that the steps of one epoch see, np.int64 `[steps, batch_size / k]`.

    Args:
        number: of the epoch.
        count: number of examples; those that do not fill a last batch are left out.
        batch_size: of the global batch.
        seed: integer in [0, 2**64).
        shard: (i, k): the i-th of k equal contiguous parts of every global batch.
    """
    index, shards = shard
    steps = count // batch_size
    order = seeds.shuffled(count, seed, int(number))[: steps * batch_size]
    parts = order.reshape(steps, shards, batch_size // shards)[:, index]
    return np.ascontiguousarray(parts, dtype=np.int64)


def shuffled(count, batch_size, seed, start=0, steps=None, shard=(0, 1)):
    """Which rows each training step sees, see `zoo.data.stream.shuffled`."""
    per_epoch = count // batch_size

    def every():
        for number in itertools.count(start // per_epoch):
            first = start % per_epoch if number == start // per_epoch else 0
            yield from epoch(number, count, batch_size, seed, shard)[first:]

    return itertools.islice(every(), steps)


def in_order(count, batch_size):
    """All rows once, int64 `[batch_size]`; the last batch may be shorter."""
    return (np.arange(start, min(start + batch_size, count)) for start in range(0, count, batch_size))


def batches(rows, store, chosen, ids):
    """Rows to batches `{"image", "label", "id"}`; arguments as in `zoo.data.stream.batches`."""
    for some in rows:
        yield store.batch(chosen[some]) | {"id": ids[some].astype(np.int32)}
