import family_contract
import numpy as np
import pytest
from keras import ops
from reference import family, family_numpy

from zoo.methods import simclr


class TestSupCon(family_contract.NeedsLabels):
    name = "sup_con"


def test_loss_is_that_of_the_paper():
    method, batch = family_contract.begun("sup_con"), family_contract.batch()
    both = ops.convert_to_numpy(method.embedder(ops.concatenate(batch.views), training=True))
    expected = family_numpy.sup_con(both[:8], both[8:], ops.convert_to_numpy(batch.label), 0.2)
    np.testing.assert_allclose(method.contrast(batch, family_contract.step())[0], expected, rtol=1e-4)


def test_is_simclr_where_all_labels_differ(monkeypatch):
    ours, batch = family_contract.begun("sup_con"), family_contract.batch(labels=np.arange(64))
    monkeypatch.setitem(family.METHODS, "simclr", lambda: simclr.SimCLR(family.encoder, family.projector, 0.2))
    theirs = family_contract.begun("simclr")
    losses = [method.contrast(batch, family_contract.step())[0] for method in (ours, theirs)]
    np.testing.assert_allclose(*map(ops.convert_to_numpy, losses), rtol=1e-5)


@pytest.mark.parametrize("arguments", [{"temperature": 0}, {"smallest_class": 0}])
def test_refuses_arguments(arguments):
    with pytest.raises(ValueError, match=f"SupCon: expected `{next(iter(arguments))}`"):
        family.METHODS["sup_con"](**arguments)
