import family_contract
import numpy as np
import pytest
from keras import ops
from reference import family, memory_numpy


class TestMoCoV3(family_contract.WithCrops):
    name = "moco_v3"


def unit(values):
    return memory_numpy.unit(ops.convert_to_numpy(values).astype("float64"))


def test_loss_is_algorithm_1():
    """2 t times the cross-entropy among the keys of the batch, in both directions."""
    method, batch = family_contract.begun("moco_v3"), family_contract.batch()
    queries = [
        unit(method.predictor.head(method.online.project(view, training=True), training=True)) for view in batch.views
    ]
    keys = [unit(method.target.project(view, training=True)) for view in batch.views]
    expected = 0
    for query, key in zip(queries, keys[::-1], strict=True):
        logits = query @ key.T / 0.2
        expected = expected + 2 * 0.2 * (np.log(np.exp(logits).sum(axis=1)) - np.diag(logits))
    found = method.contrast(batch, family_contract.step())[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_refuses_a_temperature():
    with pytest.raises(ValueError, match="MoCoV3: expected `temperature` > 0"):
        family.METHODS["moco_v3"](temperature=0)
