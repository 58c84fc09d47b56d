import family_contract
import numpy as np
import pytest
from keras import ops
from reference import family, family_numpy

from zoo.methods import moco

LOSSES = {"exemplar": family_numpy.exemplar, "unimoco": family_numpy.unified}


class TestExemplar(family_contract.NeedsLabels):
    name = "exemplar"


class TestUniMoCo(family_contract.NeedsLabels):
    name = "unimoco"


@pytest.mark.parametrize("name", LOSSES)
def test_takes_three_steps_as_in_the_paper(name):
    """The labels enter the queue with the keys; the random keys of the start have none."""
    method, queue_labels = family_contract.begun(name, bn_groups=1), np.full(32, -1)
    for number in range(3):
        batch, step = family_contract.batch(number), family_contract.step(number)
        networks = method.query_encoder, method.key_encoder.network
        query, key = (
            ops.convert_to_numpy(network(view, training=True))
            for network, view in zip(networks, batch.views, strict=True)
        )
        queue, labels = (ops.convert_to_numpy(values) for values in (method.queue.keys, batch.label))
        expected = LOSSES[name](query, key, queue, labels, queue_labels, method.temperature)
        found, _, seen = method.contrast(batch, step)
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)
        method.remember(seen, step)
        queue_labels[8 * number : 8 * number + 8] = labels
        np.testing.assert_array_equal(ops.convert_to_numpy(method.queue.labels), queue_labels)


@pytest.mark.parametrize("name", LOSSES)
def test_is_moco_where_all_labels_differ(name, monkeypatch):
    ours = family_contract.begun(name)
    monkeypatch.setitem(family.METHODS, "moco", lambda: moco.MoCo(family.encoder, family.projector, **family.QUEUE))
    theirs = family_contract.begun("moco")
    for number in range(3):
        batch, losses = family_contract.batch(number, np.arange(64)), []
        for method in (ours, theirs):
            loss, _, seen = method.contrast(batch, family_contract.step(number))
            method.remember(seen, family_contract.step(number))
            losses.append(ops.convert_to_numpy(loss))
        np.testing.assert_allclose(*losses, rtol=1e-5)


def test_refuses_another_reading_of_the_positives():
    with pytest.raises(ValueError, match="`positives` to be one of 'own', 'class'"):
        family.METHODS["exemplar"](positives="all")
