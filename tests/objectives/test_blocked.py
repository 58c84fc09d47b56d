"""NT-Xent in blocks against NT-Xent in one matrix: values, gradients, and the size of what is held."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from reference import autodiff
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


class Group(replicas.Alone):
    """One of several replicas in one process, which is given the rows of all of them."""

    def __init__(self, index, count, batches):
        self.index, self.count, self.batches = index, count, batches

    def gather(self, rows):
        return next(gathered for local, gathered in self.batches if local is rows)


def on_replicas(a, b, temperature, count, function=info_nce.nt_xent):
    """Returns the losses of the global batch, computed by `count` replicas, and the accuracy of each."""
    parts = [ops.split(z, count, axis=0) for z in (a, b)]
    losses, accuracies = [], []
    for index, local in enumerate(zip(*parts, strict=True)):
        group = Group(ops.convert_to_tensor(index), count, list(zip(local, (a, b), strict=True)))
        loss, logs = function(*local, temperature, group if count > 1 else replicas.Alone())
        losses.append(loss)
        accuracies.append(logs["contrast_accuracy"])
    return ops.concatenate(losses, axis=0), accuracies


def plain(a, b, temperature):
    return info_nce.nt_xent_plain(a, b, temperature, replicas.Alone())[0]


def check(found, expected):
    """Compares losses and gradients."""
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-4, atol=1e-7)
    for gradient, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(gradient, other, atol=5e-5 * np.abs(other).max())


# The logits are within the bound up to which exp() needs no shift, and beyond it.
@pytest.mark.parametrize("temperature", [0.1, 0.01])
@pytest.mark.parametrize("batch", [1, 4, 5, 12, 23])
def test_blocks_give_the_loss_and_gradients_of_the_matrix(batch, temperature):
    a, b = unit(0, batch), unit(1, batch)
    found = autodiff.value_and_gradients(lambda a, b: on_replicas(a, b, temperature, 1)[0], a, b)
    check(found, autodiff.value_and_gradients(lambda a, b: plain(a, b, temperature), a, b))


@pytest.mark.parametrize("temperature", [0.5, 0.01])
@pytest.mark.parametrize("function", [info_nce.nt_xent, info_nce.nt_xent_plain])
@pytest.mark.parametrize(("count", "batch"), [(2, 3), (3, 13), (4, 12)])
def test_replicas_give_the_loss_and_gradients_of_the_global_batch(count, batch, function, temperature):
    a, b = unit(0, count * batch), unit(1, count * batch)
    found = autodiff.value_and_gradients(lambda a, b: on_replicas(a, b, temperature, count, function)[0], a, b)
    check(found, autodiff.value_and_gradients(lambda a, b: plain(a, b, temperature), a, b))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("compiled", ["graph", "xla"])
def test_compiled_functions_give_the_same(compiled, count):
    a, b = unit(0, 22), unit(1, 22)

    def losses(a, b):
        return on_replicas(a, b, 0.2, count)[0]

    expected = autodiff.value_and_gradients(losses, a, b)
    check(autodiff.value_and_gradients(losses, a, b, compiled=compiled), expected)


@pytest.mark.skipif(not TENSORFLOW, reason="JAX knows every size")
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
            losses = on_replicas(a, b, 0.2, count)[0]
            total = tf.reduce_sum(losses * tf.cast(tf.range(1, tf.shape(a)[0] + 1), "float32"))
        return losses, tape.gradient(total, [a, b])

    check(run(a, b), autodiff.value_and_gradients(lambda a, b: plain(a, b, 0.2), a, b))


@pytest.mark.parametrize("count", [1, 3])
def test_accuracy_looks_at_every_block(count):
    a, b = unit(0, 27), unit(1, 27)
    a[:9], a[20] = b[:9], b[2]  # nine pairs coincide, and one image lies on the pair of another
    z = np.concatenate([a, b])
    similarities = z @ z.T - 9 * np.eye(54)
    right = similarities.argmax(axis=1) == np.roll(np.arange(54), 27)
    right[[2, 29]] = False  # image 20 ties with the positive of image 2
    _, logs = on_replicas(*map(ops.convert_to_tensor, (a, b)), 0.1, count)
    assert np.mean([float(value) for value in logs]) == pytest.approx(right.mean(), abs=1e-6)


def test_ties_are_no_hits():
    z = ops.convert_to_tensor(np.tile(unit(0, 1), (23, 1)))
    for function in (info_nce.nt_xent, info_nce.nt_xent_plain):
        loss, logs = function(z, z, 0.1, replicas.Alone())
        np.testing.assert_allclose(loss, np.log(45), rtol=1e-5)
        assert float(logs["contrast_accuracy"]) == 0


@pytest.mark.parametrize("length", [0.8, 1.3])
@pytest.mark.parametrize("temperature", [0.025, 0.02])
def test_vectors_need_not_be_of_length_1(length, temperature):
    a, b = length * unit(0, 23), -length * unit(0, 23)  # the lowest possible logits of positives
    found = autodiff.value_and_gradients(lambda a, b: on_replicas(a, b, temperature, 1)[0], a, b)
    check(found, autodiff.value_and_gradients(lambda a, b: plain(a, b, temperature), a, b))


@pytest.mark.parametrize("count", [1, 2])
def test_the_matrix_is_never_held(count, monkeypatch):
    sizes, matmul = [], ops.matmul

    def recorded(x, y):
        result = matmul(x, y)
        sizes.append(math.prod(result.shape))
        return result

    monkeypatch.setattr(ops, "matmul", recorded)
    batch = 60
    a, b = unit(0, batch), unit(1, batch)
    autodiff.value_and_gradients(lambda a, b: on_replicas(a, b, 0.1, count)[0], a, b, compiled="graph")
    assert max(sizes) < (2 * batch) ** 2 / 10


@pytest.mark.parametrize("function", [info_nce.nt_xent, info_nce.nt_xent_plain])
def test_equals_algorithm_1(function):
    a, b = unit(0, 23), unit(1, 23)
    losses = on_replicas(*map(ops.convert_to_tensor, (a, b)), 0.2, 1, function)[0]
    np.testing.assert_allclose(losses, reference.nt_xent(a, b, 0.2), rtol=2e-5)
