"""Digits of losses and gradients against float64, from pairs that are nearly solved to pairs that are not."""

import numpy as np
import pytest
from keras import ops
from reference import autodiff, memory_numpy
from scipy import special

from zoo import replicas
from zoo.objectives import blocked, info_nce, nce

B, D = 16, 16
TEMPERATURES = [0.01, 0.05, 0.1, 0.3, 1.0]
# Distance between the views of an image, relative to the length of the embedding.
NOISE = [0.0, 0.02, 0.1, 0.3, 1.0]
WEIGHTS = np.arange(1.0, B + 1)  # those of `autodiff`


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocked, "BLOCK", 4)
    monkeypatch.setattr(info_nce, "_ROWS", 16)


def pairs(batch, noise):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(batch, D))
    return tuple(memory_numpy.unit(z).astype("float32") for z in (a, a + noise * rng.normal(size=a.shape)))


def cross_entropy(positive, negatives):
    """Returns the loss `[A]`, and the derivatives with respect to the logits `[A]` and `[A, K]`, in float64."""
    log_negatives = special.logsumexp(negatives, axis=1)
    loss = np.logaddexp(0, log_negatives - positive)
    share = special.expit(log_negatives - positive)
    return loss, -share, share[:, None] * np.exp(negatives - log_negatives[:, None])


def nt_xent(a, b, temperature):
    """Returns the losses `[B]` and the weighted gradients of `a` and `b` in float64."""
    z, count = np.concatenate([a, b]).astype("float64"), len(a)
    logits, partner = z @ z.T / temperature, np.roll(np.arange(2 * count), count)
    rows = np.arange(2 * count)
    negatives = logits.copy()
    negatives[rows, rows] = negatives[rows, partner] = -np.inf
    loss, by_positive, weights = cross_entropy(logits[rows, partner], negatives)
    weights[rows, partner] = by_positive
    weights *= np.tile(WEIGHTS, 2)[:, None] / 2 / temperature
    gradient = (weights + weights.T) @ z
    return (loss[:count] + loss[count:]) / 2, [gradient[:count], gradient[count:]]


def against_memory(query, positive, negatives, temperature):
    """Returns the losses `[B]` and the weighted gradients of `query` and `positive` in float64."""
    query, positive, negatives = (z.astype("float64") for z in (query, positive, negatives))
    logits = np.sum(query * positive, axis=1) / temperature, query @ negatives.T / temperature
    loss, by_positive, by_negatives = cross_entropy(*logits)
    scale = WEIGHTS[:, None] / temperature
    by_positive = by_positive[:, None] * scale
    return loss, [by_positive * positive + by_negatives * scale @ negatives, by_positive * query]


def conventional(positive, candidates):
    """As frameworks compute it: the log-sum-exp of all candidates, `[A, K]`, minus the positive, `[A]`."""
    return ops.logsumexp(candidates, axis=1) - positive


def conventional_nt_xent(a, b, temperature):
    z = ops.concatenate([a, b], axis=0)
    logits = ops.matmul(z / temperature, ops.transpose(z)) - 1e9 * ops.eye(2 * B)
    loss = conventional(ops.sum(logits * ops.roll(ops.eye(2 * B), B, axis=1), axis=1), logits)
    return (loss[:B] + loss[B:]) / 2


def conventional_against_memory(query, positive, negatives, temperature):
    positive, negatives = info_nce.logits(query, positive, negatives, temperature)
    return conventional(positive, ops.concatenate([positive[:, None], negatives], axis=1))


def error(found, expected):
    """Returns the largest relative error of an image's loss or gradient among those that float32 can represent."""
    found, expected = (z.reshape(len(z), -1).astype("float64") for z in (found, expected))
    length = np.linalg.norm(expected, axis=1)
    kept = length > 1e-30
    return np.max(np.linalg.norm(found - expected, axis=1)[kept] / length[kept], initial=0)


def errors(found, expected):
    """Returns the errors of the losses and of each gradient."""
    return np.array([error(*both) for both in zip([found[0], *found[1]], [expected[0], *expected[1]], strict=True)])


def rounding(temperature):
    """A logit is up to 1 / temperature and rounded a few times; its exponential has that error, but relative."""
    return 8 * np.finfo("float32").eps / temperature


def check(found, expected, baseline, temperature):
    """Holds errors to the rounding of the logits and, for solved pairs, to the errors of the conventional formula."""
    assert found[0].min() >= 0
    assert np.all(errors(found, expected) < rounding(temperature))
    if expected[0].max() < 1e-2:
        assert np.all(errors(found, expected) <= errors(baseline, expected))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("function", [info_nce.nt_xent, info_nce.nt_xent_plain])
def test_nt_xent_keeps_its_digits(function, temperature):
    found = autodiff.with_gradients(lambda a, b: function(a, b, temperature, replicas.Alone())[0])
    baseline = autodiff.with_gradients(lambda a, b: conventional_nt_xent(a, b, temperature))
    for noise in NOISE:
        a, b = pairs(B, noise)
        check(found(a, b), nt_xent(a, b, temperature), baseline(a, b), temperature)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("count", [1, 40])
def test_against_memory_keeps_its_digits(count, temperature):
    negatives = memory_numpy.unit(np.random.default_rng(2).normal(size=(count, D))).astype("float32")
    stored = ops.convert_to_tensor(negatives)
    found = autodiff.with_gradients(lambda a, b: info_nce.against_memory(a, b, stored, temperature)[0])
    baseline = autodiff.with_gradients(lambda a, b: conventional_against_memory(a, b, stored, temperature))
    for noise in NOISE:
        a, b = pairs(B, noise)
        check(found(a, b), against_memory(a, b, negatives, temperature), baseline(a, b), temperature)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_without_negatives_loss_and_gradients_are_exactly_zero(temperature):
    stored = ops.zeros((0, D))
    for function in (
        lambda a, b: info_nce.nt_xent(a, b, temperature, replicas.Alone())[0],
        lambda a, b: info_nce.nt_xent_plain(a, b, temperature, replicas.Alone())[0],
        lambda a, b: info_nce.against_memory(a, b, stored, temperature)[0],
    ):
        run = autodiff.with_gradients(function)
        for noise in (0.0, 1.0):
            loss, gradients = run(*pairs(1, noise))
            np.testing.assert_array_equal(loss, [0.0])
            np.testing.assert_array_equal(gradients, np.zeros((2, 1, D)))


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_nce_keeps_its_digits(temperature):
    negatives = memory_numpy.unit(np.random.default_rng(2).normal(size=(40, D))).astype("float32")
    stored, log_normalizer, population = ops.convert_to_tensor(negatives), np.float32(0.5 / temperature), 1000
    run = autodiff.with_gradients(lambda a, b: nce.nce(a, b, stored, temperature, log_normalizer, population)[0])
    for noise in NOISE:
        query, positive = pairs(B, noise)
        found = run(query, positive)
        a, b, n = (z.astype("float64") for z in (query, positive, negatives))
        offset = float(log_normalizer) + np.log(len(n) / population)
        margin, margins = np.sum(a * b, axis=1) / temperature - offset, a @ n.T / temperature - offset
        loss = np.logaddexp(0, -margin) + np.logaddexp(0, margins).sum(axis=1)
        scale = WEIGHTS[:, None] / temperature
        by_positive = -special.expit(-margin)[:, None] * scale
        gradients = [by_positive * b + special.expit(margins) * scale @ n, by_positive * a]
        assert found[0].min() >= 0
        assert np.all(errors(found, (loss, gradients)) < rounding(temperature))
