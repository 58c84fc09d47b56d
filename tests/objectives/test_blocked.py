"""NT-Xent in blocks against NT-Xent as one matrix: values, gradients, and what it never holds."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from reference import contrast_numpy as reference

from zoo import replicas
from zoo.objectives import blocked, info_nce

TENSORFLOW = keras.backend.backend() == "tensorflow"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocked, "BLOCK", 4)


def unit(seed, batch, width=6):
    z = np.random.default_rng(seed).normal(size=(batch, width)).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def whole(a, b, temperature):
    """As one matrix, `[2N, 2N]`."""
    z = ops.concatenate([a, b], axis=0)
    count, total = a.shape[0], 2 * a.shape[0]
    logits = ops.matmul(z / temperature, ops.transpose(z)) - 1e9 * ops.eye(total)
    partner = ops.roll(ops.eye(total), count, axis=1)
    loss = ops.logsumexp(logits, axis=1) - ops.sum(logits * partner, axis=1)
    return (loss[:count] + loss[count:]) / 2


class Part(replicas.Alone):
    """One of several groups in one process, which sees all of their rows."""

    def __init__(self, index, count, batches):
        self.index, self.count, self.batches = index, count, batches

    def gather(self, rows):
        return next(everyone for part, everyone in self.batches if part is rows)


def in_parts(a, b, temperature, count):
    """The losses of the global batch, each group's by `nt_xent`, and the groups' accuracies."""
    parts = [ops.split(z, count, axis=0) for z in (a, b)]
    losses, logs = [], []
    for index, own in enumerate(zip(*parts, strict=True)):
        group = Part(ops.convert_to_tensor(index), count, list(zip(own, (a, b), strict=True)))
        loss, log = info_nce.nt_xent(*own, temperature, group if count > 1 else replicas.Alone())
        losses.append(loss)
        logs.append(log["contrast_accuracy"])
    return ops.concatenate(losses, axis=0), logs


def value_and_gradients(function, *arrays, compiled=False):
    """The losses `[N]` of a function, and the gradients of their sum weighted by 1, 2, 3, ..."""
    weights = np.arange(1, len(arrays[0]) + 1, dtype="float32")
    if TENSORFLOW:
        import tensorflow as tf

        def run(*arrays):
            with tf.GradientTape() as tape:
                tape.watch(arrays)
                losses = function(*arrays)
                total = tf.reduce_sum(losses * weights)
            return losses, tape.gradient(total, arrays)

        run = tf.function(run, jit_compile=compiled == "xla") if compiled else run
        losses, gradients = run(*map(tf.constant, arrays))
    else:
        import jax

        def run(*arrays):
            losses = function(*arrays)
            return ops.sum(losses * weights), losses

        run = jax.grad(run, argnums=tuple(range(len(arrays))), has_aux=True)
        gradients, losses = jax.jit(run)(*map(ops.convert_to_tensor, arrays))
    return np.asarray(losses), [np.asarray(gradient) for gradient in gradients]


# Logits within and beyond what exp can take without a shift.
@pytest.mark.parametrize("temperature", [0.1, 0.01])
@pytest.mark.parametrize("batch", [1, 4, 5, 12, 23])
def test_blocks_give_the_loss_and_gradients_of_the_matrix(batch, temperature):
    a, b = unit(0, batch), unit(1, batch)
    losses, gradients = value_and_gradients(lambda a, b: in_parts(a, b, temperature, 1)[0], a, b)
    expected, slopes = value_and_gradients(lambda a, b: whole(a, b, temperature), a, b)
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * max(1, np.abs(theirs).max()))


@pytest.mark.parametrize("temperature", [0.5, 0.01])
@pytest.mark.parametrize(("count", "batch"), [(2, 3), (3, 13), (4, 12)])
def test_groups_give_the_loss_and_gradients_of_the_global_batch(count, batch, temperature):
    a, b = unit(0, count * batch), unit(1, count * batch)
    losses, gradients = value_and_gradients(lambda a, b: in_parts(a, b, temperature, count)[0], a, b)
    expected, slopes = value_and_gradients(lambda a, b: whole(a, b, temperature), a, b)
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * max(1, np.abs(theirs).max()))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("compiled", ["graph", "xla"])
def test_compiled_it_is_the_same(compiled, count):
    a, b = unit(0, 22), unit(1, 22)

    def ours(a, b):
        return in_parts(a, b, 0.2, count)[0]

    losses, gradients = value_and_gradients(ours, a, b, compiled=compiled)
    expected, slopes = value_and_gradients(ours, a, b)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(gradients, slopes, atol=1e-4)


@pytest.mark.skipif(not TENSORFLOW, reason="other engines know every size")
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("batch", [2, 8, 22])
def test_the_batch_may_be_unknown(batch, count):
    import tensorflow as tf

    spec = tf.TensorSpec([None, 6])
    a, b = unit(0, batch), unit(1, batch)

    @tf.function(input_signature=[spec, spec])
    def run(a, b):
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            losses = in_parts(a, b, 0.2, count)[0]
            total = tf.reduce_sum(losses * tf.cast(tf.range(1, tf.shape(a)[0] + 1), "float32"))
        return losses, tape.gradient(total, [a, b])

    losses, gradients = run(a, b)
    expected, slopes = value_and_gradients(lambda a, b: whole(a, b, 0.2), a, b)
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradients, slopes, atol=1e-3)


@pytest.mark.parametrize("count", [1, 3])
def test_accuracy_looks_at_every_block(count):
    a, b = unit(0, 27), unit(1, 27)
    a[:9], a[20] = b[:9], b[2]  # nine at home, and one that another image has taken
    z = np.concatenate([a, b])
    similar = z @ z.T - 9 * np.eye(54)
    right = similar.argmax(axis=1) == np.roll(np.arange(54), 27)
    right[[2, 29]] = True  # the tie that image 20 has made is no mistake
    _, logs = in_parts(*map(ops.convert_to_tensor, (a, b)), 0.1, count)
    assert np.mean([float(value) for value in logs]) == pytest.approx(right.mean(), abs=1e-6)


def test_equal_embeddings_are_no_mistakes():
    z = ops.convert_to_tensor(np.tile(np.eye(6, dtype="float32")[:1], (23, 1)))  # whose products no order rounds
    loss, logs = info_nce.nt_xent(z, z, 0.1, replicas.Alone())
    np.testing.assert_allclose(loss, np.log(45), rtol=1e-5)
    assert float(logs["contrast_accuracy"]) == 1


@pytest.mark.parametrize("length", [0.8, 1.3])
@pytest.mark.parametrize("temperature", [0.025, 0.02])
def test_vectors_need_not_be_of_length_1(length, temperature):
    a, b = length * unit(0, 23), -length * unit(0, 23)  # the lowest and, with the other images, high logits
    losses, gradients = value_and_gradients(lambda a, b: in_parts(a, b, temperature, 1)[0], a, b)
    expected, slopes = value_and_gradients(lambda a, b: whole(a, b, temperature), a, b)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(gradients, slopes, atol=1e-4 * np.abs(slopes).max())


@pytest.mark.parametrize("count", [1, 2])
def test_the_matrix_is_never_held(count, monkeypatch):
    sizes, matmul = [], ops.matmul

    def watched(x, y):
        result = matmul(x, y)
        sizes.append(math.prod(result.shape))
        return result

    monkeypatch.setattr(ops, "matmul", watched)
    batch = 60
    a, b = unit(0, batch), unit(1, batch)
    value_and_gradients(lambda a, b: in_parts(a, b, 0.1, count)[0], a, b, compiled="graph")
    assert max(sizes) < (2 * batch) ** 2 / 10


def test_it_is_the_papers():
    a, b = unit(0, 23), unit(1, 23)
    losses = in_parts(*map(ops.convert_to_tensor, (a, b)), 0.2, 1)[0]
    np.testing.assert_allclose(losses, reference.nt_xent(a, b, 0.2), rtol=2e-5)
