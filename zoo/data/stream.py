"""Pipelines of rows to pipelines of batches: every order is a function of the seed and the step, never of a state."""

import os

import numpy as np
import tensorflow as tf

from zoo.data import numpy_stream

# Fixed rather than tuned by tf.data, whose tuner now and then holds a pipeline up for seconds.
PARALLEL = min(16, os.cpu_count() or 1)


def shuffled(count, batch_size, seed, start=0, steps=None, shard=(0, 1)):
    """Which rows each training step sees: an int64 `[batch_size / k]` per step.

    Step s belongs to epoch `s // (count // batch_size)`; an epoch is a fresh order of all rows, of which the remainder
    that does not fill a batch is left out. Starting later costs one epoch's order, not the steps before.

    Args:
        count: number of rows.
        batch_size: of the global batch.
        seed: integer in [0, 2**64).
        start: the first step.
        steps: how many; without end if None.
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


def in_order(count, batch_size):
    """All rows once, int64 `[batch_size]`; the last batch may be shorter."""
    starts = tf.data.Dataset.range(0, count, batch_size)
    return starts.map(lambda start: tf.range(start, tf.minimum(start + batch_size, count)))


def in_parts(rows, size):
    """Given rows, int64 `[k]`, by parts of at most `size`."""
    with tf.device("CPU:0"):
        return tf.data.Dataset.from_tensor_slices(rows).batch(size)


def collected(parts, store, chosen, ids):
    """The images and labels of a dataset of rows, as tensors on the host; arguments as in `batches`.

    Raises:
        ValueError: an image cannot be read; names it.
    """
    pixels, labels = [], []
    try:
        for batch in batches(parts, store, chosen, ids):
            pixels.append(batch["image"])
            labels.append(batch["label"])
    except tf.errors.OpError:
        # TensorFlow's message holds the reason between traces of its own; the same reason, without them:
        for part in parts:
            store.explain(chosen[part.numpy()])
        raise
    with tf.device("CPU:0"):
        return tf.concat(pixels, 0), tf.concat(labels, 0)


def batches(rows, store, chosen, ids):
    """A dataset of rows to a dataset of batches `{"image", "label", "id"}`.

    Args:
        rows: dataset of int64 `[B]` into `chosen`.
        store: where the examples are; see `zoo.data.stores`.
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
        # Decoding is native and cannot tell which file it failed on. A batch that fails is dropped, and the second
        # half of the concatenation, which is reached only then, says why.
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
