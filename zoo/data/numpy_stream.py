"""Batches from arrays without TensorFlow, in the same order as those of `zoo.data.tf_stream`."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from zoo import seeds
from zoo.data import stores


def epoch(number: int, count: int, batch_size: int, seed: int, shard: stores.Shard = (0, 1)) -> np.ndarray:
    """Returns the rows that each step of one epoch sees, np.int64 `[steps, batch_size / k]`.

    Args:
        number: number of the epoch, from 0.
        count: number of examples; the remainder that does not fill a batch is left out.
        batch_size: size of the global batch.
        seed: integer in [0, 2**64).
        shard: (i, k): the i-th of k equal contiguous parts of every global batch.
    """
    index, shards = shard
    steps = count // batch_size
    order = seeds.shuffled(count, seed, int(number))[: steps * batch_size]
    parts = order.reshape(steps, shards, batch_size // shards)[:, index]
    return np.ascontiguousarray(parts, dtype=np.int64)


def shuffled(
    count: int, batch_size: int, seed: int, start: int = 0, steps: int | None = None, shard: stores.Shard = (0, 1)
) -> Iterator[np.ndarray]:
    """Returns the rows of every training step; see `zoo.data.tf_stream.shuffled`."""
    per_epoch = count // batch_size

    def every_step():
        for number in itertools.count(start // per_epoch):
            first = start % per_epoch if number == start // per_epoch else 0
            yield from epoch(number, count, batch_size, seed, shard)[first:]

    return itertools.islice(every_step(), steps)


def in_order(count: int, batch_size: int) -> Iterator[np.ndarray]:
    """Returns all rows once, int64 `[batch_size]`; the last batch may be shorter."""
    return (np.arange(start, min(start + batch_size, count)) for start in range(0, count, batch_size))


def batches(
    rows: Iterable[np.ndarray], store: stores.Store, chosen: np.ndarray, ids: np.ndarray
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the batches of the given rows; arguments as in `zoo.data.tf_stream.batches`."""
    for batch_rows in rows:
        yield store.batch(chosen[batch_rows]) | {"id": ids[batch_rows].astype(np.int32)}
