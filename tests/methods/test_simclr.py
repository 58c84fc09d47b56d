import contract
import numpy as np
import pytest
from keras import ops
from reference import contrast_numpy as reference

from zoo import replicas
from zoo.methods import simclr


class TestSimCLR(contract.Contract):
    def make(self):
        return simclr.SimCLR(contract.encoder, contract.projector, temperature=0.5)


class TestSimCLRv2(contract.Contract):
    def make(self):
        return simclr.SimCLR(contract.encoder, contract.projector, temperature=0.5, kept_layers=1)

    def test_keeps_the_first_layer_of_the_head(self):
        method = self.make()
        images = self.images()[0]
        head = method.projector
        middle = head.get_layer("hidden1_relu").output
        expected = type(head)(head.inputs, middle)(method.encoder(images))
        np.testing.assert_allclose(method.feature_extractor()(images), expected, rtol=1e-5)
        assert method.feature_extractor().output_shape == (None, 8) and method.encoder.output_shape == (None, 8)


def test_loss_is_nt_xent_of_the_projections_of_one_common_batch():
    method = simclr.SimCLR(contract.encoder, contract.projector, temperature=0.2)
    a, b = contract.Contract().images()
    both = ops.convert_to_numpy(method.embed(ops.concatenate([a, b]), training=True))
    loss = ops.convert_to_numpy(method.contrast((a, b), None, replicas.Alone())[0])
    np.testing.assert_allclose(loss, reference.nt_xent(both[:6], both[6:], 0.2), rtol=1e-4)


def test_views_may_change_places():
    method = simclr.SimCLR(contract.encoder, contract.projector)
    a, b = contract.Contract().images()
    forth, back = (
        ops.convert_to_numpy(method.contrast(views, None, replicas.Alone())[0]) for views in ((a, b), (b, a))
    )
    np.testing.assert_allclose(forth, back, rtol=1e-4)


@pytest.mark.parametrize("temperature", [0, -1.0])
def test_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ValueError, match="temperature"):
        simclr.SimCLR(contract.encoder, temperature=temperature)


def test_refuses_another_number_of_views():
    with pytest.raises(ValueError, match="expected 2 views.*Received: 1"):
        simclr.SimCLR(contract.encoder, contract.projector).check([contract.SHAPE], np.arange(30), 6)


def test_refuses_more_kept_layers_than_the_head_has():
    with pytest.raises(ValueError, match="layers"):
        simclr.SimCLR(contract.encoder, contract.projector, kept_layers=2)
