import numpy as np
import pytest
import tensorflow as tf

from zoo import seeds
from zoo.data import sources, tf_stream


def rows(*args, **kwargs):
    return [step.numpy() for step in tf_stream.shuffled(*args, **kwargs)]


def test_an_epoch_is_the_order_that_seeds_give():
    found = rows(10, 3, seed=7, steps=6)
    for epoch in range(2):
        order = seeds.shuffled(10, 7, epoch)[:9].reshape(3, 3)
        np.testing.assert_array_equal(found[3 * epoch : 3 * epoch + 3], order)


@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 8, 1000])
def test_starts_at_any_step(start):
    whole = rows(10, 3, seed=1, steps=start + 5)
    np.testing.assert_array_equal(rows(10, 3, seed=1, start=start, steps=5), whole[start:])


def test_shards_are_contiguous_parts_of_the_global_batch():
    whole = np.array(rows(26, 6, seed=3, start=2, steps=5))
    parts = [np.array(rows(26, 6, seed=3, start=2, steps=5, shard=(i, 3))) for i in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_without_steps_it_does_not_end():
    assert sum(1 for _ in tf_stream.shuffled(4, 2, seed=0).take(101)) == 101
    assert rows(4, 2, seed=0, steps=0) == []


def test_batches_hold_what_their_ids_say():
    source = sources.load("digits", "test[10:90]")
    position = {identity: row for row, identity in enumerate(source.ids)}
    for batch in source.batches(32, seed=5, start=1, steps=4):
        at = [position[identity] for identity in batch["id"].numpy()]
        np.testing.assert_array_equal(batch["image"], source.images[at])
        np.testing.assert_array_equal(batch["label"], source.labels[at])
    assert batch["image"].dtype == tf.uint8 and batch["label"].dtype == tf.int32 and batch["id"].dtype == tf.int32
    assert batch["image"].shape == (32, 8, 8, 1)


def test_twice_the_same_and_another_seed_another_order():
    source = sources.load()
    first, again, other = (
        [batch["id"].numpy() for batch in source.batches(100, seed=seed, steps=15)] for seed in (2, 2, 3)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(np.concatenate(first[:12]))) == 1200


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 1298},
        {"batch_size": 0},
        {"batch_size": 10, "shard": (0, 3)},
        {"batch_size": 9, "shard": (3, 3)},
        {"batch_size": 9, "shard": (0, 0)},
        {"batch_size": 9, "start": -1},
        {"batch_size": 9, "seed": -1},
    ],
)
def test_refuses(wrong):
    with pytest.raises(ValueError, match="batches: expected"):
        sources.load().batches(**{"seed": 0, **wrong})


def test_within_distribute_datasets_from_function():
    source = sources.load()
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    def part(context):
        assert context.num_input_pipelines == 1
        return source.batches(10, seed=1, steps=3).flat_map(
            lambda batch: tf.data.Dataset.from_tensor_slices(batch).batch(5, drop_remainder=True)
        )

    found = []
    for batch in strategy.distribute_datasets_from_function(part):
        found.append(np.concatenate([value.numpy() for value in strategy.experimental_local_results(batch["id"])]))
    expected = [batch["id"].numpy() for batch in source.batches(10, seed=1, steps=3)]
    np.testing.assert_array_equal(found, expected)
