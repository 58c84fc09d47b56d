"""Batches as tf.data pipelines, in an order that is a function of the seed and the step, without a state."""

import os

import numpy as np
import tensorflow as tf

from zoo.data import numpy_stream, stores

# Fixed rather than tuned by tf.data, whose tuner now and then stalls a pipeline for seconds.
PARALLEL = min(16, os.cpu_count() or 1)


def shuffled(
    count: int, batch_size: int, seed: int, start: int = 0, steps: int | None = None, shard: stores.Shard = (0, 1)
) -> tf.data.Dataset:
    """Returns the rows of every training step, int64 `[batch_size / k]` per step.

    Step s belongs to epoch `s // (count // batch_size)`. Every epoch has a fresh order of all rows, and leaves out the
    remainder that does not fill a batch. A later start costs the order of one epoch, not the steps before it.

    Args:
        count: number of rows.
        batch_size: size of the global batch.
        seed: integer in [0, 2**64).
        start: the first step.
        steps: number of steps; endless if None.
        shard: (i, k): the i-th of k equal contiguous parts of every global batch.
    """
    per_epoch = count // batch_size
    width = batch_size // shard[1]
    first = start // per_epoch

    def order(epoch):
        steps_of_epoch = numpy_stream.epoch(epoch, count, batch_size, seed, shard)
        return steps_of_epoch[start % per_epoch if epoch == first else 0 :]

    def epoch_of_rows(epoch):
        rows = tf.numpy_function(order, [epoch], tf.int64)
        return tf.ensure_shape(rows, (None, width))

    last = np.iinfo(np.int64).max if steps is None else -(-(start + steps) // per_epoch)
    epochs = tf.data.Dataset.range(first, max(first, last)).map(epoch_of_rows)
    rows = epochs.prefetch(1).flat_map(tf.data.Dataset.from_tensor_slices)
    return rows if steps is None else rows.take(steps)


def in_order(count: int, batch_size: int) -> tf.data.Dataset:
    """Returns all rows once, int64 `[batch_size]`; the last batch may be shorter."""
    starts = tf.data.Dataset.range(0, count, batch_size)
    return starts.map(lambda start: tf.range(start, tf.minimum(start + batch_size, count)))


def collected(store: stores.Store, positions: np.ndarray, batch_size: int) -> dict[str, tf.Tensor]:
    """Reads some examples of a store into memory.

    Args:
        store: a `zoo.data.stores.Store`.
        positions: np.int64 `[n]`, n > 0.
        batch_size: number of examples to read at once.

    Returns:
        Key -> tensor `[n, ...]` on the host.

    Raises:
        ValueError: an example cannot be read; the message names it.
    """
    found = []
    try:
        found.extend(batches(in_order(len(positions), batch_size), store, positions, positions))
    except tf.errors.OpError:
        # TensorFlow buries the reason in traces of its graph; this states the same reason without them.
        store.explain(positions)
        raise
    with tf.device("CPU:0"):
        return {key: tf.concat([batch[key] for batch in found], 0) for key in store.spec}


def batches(rows: tf.data.Dataset, store: stores.Store, chosen: np.ndarray, ids: np.ndarray) -> tf.data.Dataset:
    """Returns the batches of the given rows: the store's keys and "id" (int32).

    Args:
        rows: dataset of int64 `[B]`, rows of `chosen` and `ids`.
        store: a `zoo.data.stores.Store`.
        chosen: np.int64 `[n]`, positions in the store.
        ids: np.int64 `[n]`.
    """
    width = rows.element_spec.shape[0]
    # A captured tensor on an accelerator would be copied back for every batch.
    with tf.device("CPU:0"):
        chosen, ids = tf.constant(chosen, tf.int64), tf.constant(ids, tf.int32)

    @tf.function(input_signature=[tf.TensorSpec((width,), tf.int64)], autograph=False)
    def batch(rows):
        return store.batch(tf.gather(chosen, rows)) | {"id": tf.gather(ids, rows)}

    def explain(positions):
        store.explain(positions)
        return positions

    @tf.autograph.experimental.do_not_convert
    def explained(rows):
        positions = tf.gather(chosen, rows)
        with tf.control_dependencies([tf.numpy_function(explain, [positions], tf.int64)]):
            return batch(rows)

    @tf.autograph.experimental.do_not_convert
    def guarded(rows):
        rows = tf.data.Dataset.from_tensors(rows)
        # Decoding is native and cannot say which file failed. A batch that fails is dropped, and the second half of the
        # concatenation, which is reached only then, says why.
        return rows.map(batch).ignore_errors().concatenate(rows.map(explained)).take(1)

    if store.fallible:
        data = rows.interleave(
            guarded, cycle_length=PARALLEL, block_length=1, num_parallel_calls=PARALLEL, deterministic=True
        )
    else:
        data = rows.map(batch, num_parallel_calls=2, deterministic=True)
    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    # Shards are cut by row; tf.distribute must not cut once more.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return data.prefetch(2).with_options(options)
