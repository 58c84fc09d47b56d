import pathlib

import keras
import numpy as np
import pytest
from keras import ops
from reference import groups, memory_numpy

from zoo import context
from zoo.methods import memory
from zoo.methods import method as methods
from zoo.models import convnet

rng = np.random.default_rng(0)


def unit(*shape):
    return memory_numpy.unit(rng.normal(size=shape)).astype("float32")


def spec(batch_size):
    """Returns the `Spec` of a run on 100 images."""
    return methods.Spec(((8, 8, 3),), np.arange(100), batch_size)


def test_queue_is_a_ring_that_forgets_the_oldest():
    queue = memory.MomentumQueue(6, 4)
    reference = memory_numpy.Queue(ops.convert_to_numpy(queue.keys))
    for step in range(5):
        keys, ids = unit(2, 4), np.arange(2 * step, 2 * step + 2).astype("int32")
        queue.push(ops.convert_to_tensor(keys), ops.convert_to_tensor(ids))
        reference.push(keys, ids)
        np.testing.assert_array_equal(queue.keys, reference.keys)
        np.testing.assert_array_equal(queue.ids, reference.ids)
        assert int(queue.pointer) == reference.pointer


def test_queue_begins_as_unit_vectors_in_all_directions():
    keys = ops.convert_to_numpy(memory.MomentumQueue(500, 8).keys)
    np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, rtol=1e-5)
    assert np.abs(keys.mean(axis=0)).max() < 0.1
    assert np.abs(memory.MomentumQueue(500, 8).keys - keys).max() > 0.1  # another queue, other keys


def test_queries_do_not_meet_keys_of_their_own_image():
    queue = memory.MomentumQueue(4, 3)
    queue.push(ops.convert_to_tensor(unit(2, 3)), ops.convert_to_tensor(np.array([7, 9], "int32")))
    _, allowed = queue.negatives(ops.convert_to_tensor(np.array([9, 1], "int32")))
    np.testing.assert_array_equal(allowed, [[True, False, True, True], [True] * 4])


def test_a_labeled_queue_keeps_classes_with_their_keys():
    queue = memory.MomentumQueue(6, 4, labeled=True)
    for step in range(4):
        ids = ops.convert_to_tensor(np.array([step, step + 10], "int32"))
        queue.push(ops.convert_to_tensor(unit(2, 4)), ids, ids % 3)
    ids, labels = (ops.convert_to_numpy(values) for values in (queue.ids, queue.labels))
    assert labels.dtype == np.int32 and list(ids) == [3, 13, 1, 11, 2, 12]
    np.testing.assert_array_equal(labels, ids % 3)
    assert memory.MomentumQueue(6, 4).labels is None


def test_replicas_share_the_keys_among_them():
    queue = memory.MomentumQueue(6, 4)
    queue.push(ops.convert_to_tensor(unit(4, 4)), ops.arange(4, dtype="int32"))
    parts = [queue.share(groups.Member(index, 3)) for index in range(3)]
    np.testing.assert_array_equal(np.concatenate([keys for keys, _ in parts]), queue.keys)
    assert np.concatenate([pushed for _, pushed in parts]).tolist() == [True] * 4 + [False] * 2


def test_momentum_rises_to_one_along_half_a_cosine():
    found = [float(memory.cosine_momentum(0.9, ops.convert_to_tensor(x))) for x in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(found, [0.9, 0.95, 1.0], rtol=1e-6)


def test_bank_moves_rows_as_the_paper_says():
    bank = memory.MemoryBank(np.arange(100, 110), 4, momentum=0.3)
    before = ops.convert_to_numpy(bank.rows)
    ids, features = np.array([107, 100, 103], "int32"), unit(3, 4)
    np.testing.assert_array_equal(bank.recall(ops.convert_to_tensor(ids)), before[ids - 100])
    bank.update(ops.convert_to_tensor(ids), ops.convert_to_tensor(features))
    after = ops.convert_to_numpy(bank.rows)
    np.testing.assert_allclose(after, memory_numpy.bank_update(before, ids - 100, features, 0.3), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, rtol=1e-5)


def test_a_row_that_cancels_out_comes_back():
    bank, ids = memory.MemoryBank(np.arange(3), 4), ops.convert_to_tensor(np.array([1], "int32"))
    before = ops.convert_to_numpy(bank.rows)
    bank.update(ids, ops.convert_to_tensor(-before[1:2]))
    np.testing.assert_array_equal(bank.rows, before * [[1], [0], [1]])
    new = unit(1, 4)
    bank.update(ids, ops.convert_to_tensor(new))
    np.testing.assert_allclose(bank.rows[1:2], new, atol=1e-6)


@pytest.mark.parametrize("per_image", [True, False])
def test_bank_draws_uniformly_but_never_the_querys_own_row(per_image):
    bank = memory.MemoryBank(np.arange(6), 1)
    bank.rows.assign(np.arange(6.0).reshape(6, 1))  # a row says which it is
    ids = np.array([0, 3, 5], "int32")
    rows, allowed = bank.sample(ops.convert_to_tensor(ids), 6000, per_image)
    drawn = np.broadcast_to(ops.convert_to_numpy(rows)[..., 0], (3, 6000)).astype(int)
    allowed = np.ones_like(drawn, bool) if allowed is None else ops.convert_to_numpy(allowed)
    for b, own in enumerate(ids):
        counts = np.bincount(drawn[b][allowed[b]], minlength=6)
        assert counts[own] == 0
        others = np.delete(counts, own)
        expected = others.sum() / 5
        assert np.abs(others - expected).max() < 5 * np.sqrt(expected)


def test_bank_draws_anew_after_every_update_and_alike_for_every_batch():
    bank = memory.MemoryBank(np.arange(50), 2)
    ids = ops.convert_to_tensor(np.array([4, 9], "int32"))
    first = ops.convert_to_numpy(bank.sample(ids, 20)[0])
    np.testing.assert_array_equal(bank.sample(ids[1:], 20)[0][0], first[1])  # whatever the batch
    bank.update(ids, ops.convert_to_tensor(unit(2, 2)))
    assert np.abs(ops.convert_to_numpy(bank.sample(ids, 20)[0]) - first).max() > 0.1


def test_average_follows_the_parameters_and_leaves_statistics_alone():
    source, target = (convnet.convnet((8, 8, 1), (4, 8)) for _ in range(2))
    parameters = source.trainable_variables, target.trainable_variables
    average = memory.Average(*parameters, momentum=0.75)
    for slow, fast in zip(average.target, average.source, strict=True):
        np.testing.assert_array_equal(slow, fast)
    for variable in source.variables:
        variable.assign(variable + 1)
    statistics = [ops.convert_to_numpy(v) for v in target.variables if "moving" in v.path]
    average.update()
    for slow, fast in zip(average.target, average.source, strict=True):
        np.testing.assert_allclose(slow, fast - 0.75, rtol=1e-5, atol=1e-6)
    for before, after in zip(statistics, [v for v in target.variables if "moving" in v.path], strict=True):
        np.testing.assert_array_equal(before, after)
    assert not target.trainable_variables and source.trainable_variables


def test_bank_takes_ids_in_any_order():
    bank = memory.MemoryBank(np.array([12, 10, 11, 13]), 4)
    assert (bank.size, bank.first) == (4, 10)
    ids = ops.convert_to_tensor(np.array([13, 10], "int32"))
    np.testing.assert_array_equal(bank.recall(ids), ops.convert_to_numpy(bank.rows)[[3, 0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: memory.MomentumQueue(0, 4), "`size` to be a positive integer"),
        (lambda: memory.MemoryBank([3], 4), "two images or more"),
        (lambda: memory.MemoryBank(range(4), 0), "`width` to be a positive integer"),
        (lambda: memory.MemoryBank(range(4), 4, momentum=1.5), r"`momentum` in \[0, 1\]"),
        (lambda: memory.MomentumQueue(12, 4).check(spec(8)), "multiple of the global batch of 8"),
        (lambda: memory.MomentumQueue(96, 4).check(spec(8)), "at most 88; with 100 images and batches of 8"),
        (lambda: memory.MomentumQueue(64, 4).check(spec(64)), "at most 0; with .* batches of 64"),
        (lambda: memory.MemoryBank([0, 3, 9], 4), "consecutive ids.* Received: images=3, first=0, last=9"),
        (lambda: memory.MemoryBank([*range(10), 4], 4), "no id twice"),
        (lambda: memory.MemoryBank(range(10), 4).check_candidates(10, True), "from 1 to the 9 other images"),
        (lambda: memory.MemoryBank(range(10), 4).check_candidates(True, True), "from 1 to the 9 other images"),
        (lambda: memory.MemoryBank(range(10), 4).check_candidates(9, 1), "`per_image` to be a bool"),
        (
            lambda: memory.Average(*(convnet.convnet((8, 8, 1), w).trainable_variables for w in ((4,), (8,)))),
            "equal shapes",
        ),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs are TensorFlow's")
@pytest.mark.parametrize("xla", [False, True])
def test_a_compiled_step_remembers_what_an_eager_one_does(xla):
    import tensorflow as tf

    found = []
    for wrap in (lambda step: step, tf.function(jit_compile=xla)):
        keras.utils.set_random_seed(3)
        queue, bank = memory.MomentumQueue(8, 4), memory.MemoryBank(np.arange(8), 4)

        @wrap
        def step(keys, ids, queue=queue, bank=bank):
            rows, (negatives, allowed) = bank.recall(ids), queue.negatives(ids)
            drawn, negatives = bank.sample(ids, 5)[0], negatives + 0
            with tf.control_dependencies([negatives, allowed]), context.using(xla=xla and not tf.executing_eagerly()):
                queue.push(keys, ids)
                bank.update(ids, keys)
            return rows, negatives, allowed, drawn

        for first in (0, 4, 2):
            results = step(
                tf.constant(memory_numpy.unit(np.arange(16.0).reshape(4, 4) + 1), tf.float32),
                tf.range(first, first + 4),
            )
        found.append([np.asarray(x) for x in (*results, queue.keys, queue.ids, queue.pointer, bank.rows)])
    for eager, graph in zip(*found, strict=True):
        np.testing.assert_allclose(eager, graph, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="what TensorFlow does with its buffers")
def test_a_step_reads_compares_and_enters_without_copying_the_stores():
    """Held by the peak of memory, not by an address: whoever looks at the rows has them copied."""
    import tensorflow as tf

    queue, bank = memory.MomentumQueue(65536, 512), memory.MemoryBank(np.arange(65536), 512)  # 128 MB each
    keys, ids = tf.constant(unit(4, 512)), tf.range(4)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(keys)
            candidates, allowed = queue.negatives(ids)
            # This way round, for a product packs its right side anew.
            compared = ops.transpose(ops.matmul(candidates, ops.transpose(keys)))
            scores = ops.concatenate(
                [
                    ops.where(allowed, compared, 0.0),
                    ops.matmul(keys, ops.transpose(bank.sample(ids, 32, per_image=False)[0])),
                ],
                axis=1,
            )
            total = ops.sum(ops.logsumexp(scores, axis=1))
        with tf.control_dependencies([tape.gradient(total, keys)]):  # as the training step has it
            queue.push(keys, ids)
            bank.update(ids, keys)

    def megabytes(name):
        return int(pathlib.Path("/proc/self/status").read_text().partition(f"{name}:")[2].split()[0]) / 1024

    for _ in range(2):  # the stores part from the arrays that they were made of
        step()
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the peak so far
    except OSError:
        pytest.skip("the kernel does not tell the peak of memory anew")
    before = megabytes("VmRSS")
    for _ in range(3):
        step()
    assert megabytes("VmHWM") - before < 64
    assert int(queue.pointer) == 20
    np.testing.assert_array_equal(queue.ids[:20], np.tile(np.arange(4), 5))
