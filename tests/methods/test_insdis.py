import preset_contract
import pytest
from reference import presets

from zoo.methods import nce


class TestInsDis(preset_contract.OfBank):
    name = "insdis"


class TestInsDisSharedCandidates(preset_contract.OfPreset):
    name, arguments = "insdis", {"per_image": False}


class TestInsDisNCE(preset_contract.OfPreset):
    name, arguments = "insdis", {"estimator": presets.nce}


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
