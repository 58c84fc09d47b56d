import contract
import family_contract
import keras
import numpy as np
import pytest
from keras import ops
from reference import family, memory_numpy

from zoo.methods import byol


class TestBYOL(family_contract.WithCrops):
    name = "byol"


def unit(values):
    return memory_numpy.unit(ops.convert_to_numpy(values).astype("float64"))


def test_loss_is_that_of_the_paper():
    """Eq. 2 in both directions; the predictor takes the projection before it is normalized."""
    method, (first, second) = family_contract.begun("byol"), family_contract.batch().views
    expected = 0
    for view, other in ((first, second), (second, first)):
        projection = method.online.projector(method.online.encoder(view, training=True), training=True)
        prediction = unit(method.predictor.head(projection, training=True))
        target = unit(method.target.projector(method.target.encoder(other, training=True), training=True))
        expected = expected + np.sum((prediction - target) ** 2, axis=1)
    found, logs, _ = method.contrast(family_contract.batch(), family_contract.step())
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert float(logs["similarity"]) == pytest.approx(1 - expected.mean() / 4, abs=1e-5)


@pytest.mark.parametrize("number", [0, 7, 19])
def test_target_follows_with_a_momentum_that_rises_to_one(number):
    method = family_contract.begun("byol")
    for variable in method.trainable_variables:
        variable.assign(variable + 1)
    before, source = contract.values(method.average.target), contract.values(method.average.source)
    method.remember((), family_contract.step(number))
    momentum = 1 - 0.1 * (np.cos(np.pi * number / 20) + 1) / 2
    for old, fast, new in zip(before, source, contract.values(method.average.target), strict=True):
        np.testing.assert_allclose(new, momentum * old + (1 - momentum) * fast, rtol=1e-5, atol=1e-6)


def test_the_target_is_not_trained():
    method = family_contract.begun("byol")
    trained = {variable.path for variable in method.trainable_variables}
    assert any(path.startswith("predictor_") for path in trained)
    assert not {id(v) for v in method.target.trainable_variables}
    assert len(trained) == len({v.path for v in method.online.trainable_variables}) + 4  # two kernels, gamma and beta


@pytest.mark.parametrize("momentum", [-0.1, 1.1])
def test_refuses_a_momentum(momentum):
    with pytest.raises(ValueError, match=r"BYOL: expected `momentum` in \[0, 1\]"):
        family.METHODS["byol"](momentum=momentum)


def test_refuses_a_predictor_of_another_width():
    def wider(features):
        return keras.Sequential([keras.Input((features,)), keras.layers.Dense(features + 1)])

    with pytest.raises(ValueError, match="`predictor` to return vectors of 4.* Received: width=5"):
        byol.BYOL(family.encoder, family.projector, wider).begin(TestBYOL().spec())
