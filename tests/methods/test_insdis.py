import numpy as np
import preset_contract
import pytest
from reference import presets

from zoo import replicas
from zoo.methods import nce


class TestInsDis(preset_contract.OfBank):
    name = "insdis"


class TestInsDisSharedCandidates(preset_contract.OfPreset):
    name, arguments = "insdis", {"per_image": False}


class TestInsDisNCE(preset_contract.OfPreset):
    name, arguments = "insdis", {"estimator": presets.nce}


@pytest.mark.parametrize(("momentum", "kept"), [(1.0, 0), (0.0, 2), (0.5, None)])
def test_the_normalizer_is_a_running_average_of_any_magnitude(momentum, kept):
    """At a temperature of 0.01, estimates of different batches differ by factors beyond float32."""
    estimator = nce.NCE(5, momentum)
    query = np.eye(4, 3, dtype="float32")[None, 0]
    estimates = []
    for cosine in (-1.0, 1.0, 0.0):
        negatives = np.array([[[cosine, 0, 0]] * 2], "float32")
        rows = query, query * cosine, negatives, np.ones((1, 2), bool), 0.01, replicas.Alone()
        estimates.append(float(nce.NCE(5).contrast(*rows)[2]))
        loss, _, log_normalizer = estimator.contrast(*rows)
        assert np.isfinite(loss).all() and np.isfinite(float(log_normalizer))
        estimator.remember(log_normalizer)
    expected = estimates[0]
    if kept is None:
        for estimate in estimates[1:]:
            expected = np.logaddexp(expected + np.log(momentum), estimate + np.log(1 - momentum))
    np.testing.assert_allclose(float(log_normalizer), estimates[kept] if kept is not None else expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population": 0}, "`population` to be a positive integer"),
        ({"population": 4, "momentum": 2}, r"`momentum` in \[0, 1\]"),
    ],
)
def test_estimators_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        presets.begun("insdis", estimator=lambda population: nce.NCE(**arguments))
