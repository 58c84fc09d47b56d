import contract
import numpy as np
import pytest
from keras import ops
from reference import contrast_numpy as reference

from zoo.methods import method as methods
from zoo.methods import simclr


class TestSimCLR(contract.Contract):
    def make(self):
        return simclr.SimCLR(contract.encoder, contract.projector, temperature=0.5)


class TestSimCLRv2(contract.Contract):
    def make(self):
        return simclr.SimCLR(contract.encoder, contract.projector, temperature=0.5, kept_layers=1)

    def test_keeps_the_first_layer_of_the_head(self):
        method = self.begun()
        images = self.views()[0]
        encoder, head = method.embedder.encoder, method.embedder.projector
        middle = head.get_layer("hidden1_relu").output
        expected = type(head)(head.inputs, middle)(encoder(images))
        found = methods.encoder_named(method)
        np.testing.assert_allclose(found(images), expected, rtol=1e-5)
        assert found.output_shape == (None, 8) and encoder.output_shape == (None, 8)


def begun(**arguments):
    method = simclr.SimCLR(contract.encoder, contract.projector, **arguments)
    method.begin(contract.Contract().spec())
    return method


def loss(method, views):
    laws = contract.Contract()
    return ops.convert_to_numpy(method.contrast(laws.batch()._replace(views=views), laws.step())[0])


def test_loss_is_nt_xent_of_the_projections_of_one_common_batch():
    method = begun(temperature=0.2)
    a, b = contract.Contract().views()
    both = ops.convert_to_numpy(method.embedder(ops.concatenate([a, b]), training=True))
    np.testing.assert_allclose(loss(method, (a, b)), reference.nt_xent(both[:6], both[6:], 0.2), rtol=1e-4)


def test_views_may_change_places():
    method = begun()
    a, b = contract.Contract().views()
    np.testing.assert_allclose(loss(method, (a, b)), loss(method, (b, a)), rtol=1e-4)


@pytest.mark.parametrize("temperature", [0, -1.0])
def test_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ValueError, match="temperature"):
        simclr.SimCLR(contract.encoder, temperature=temperature)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ((contract.SHAPE,), r"expected 2 views \(first view, second view\). Received: views=1"),
        (((8, 8, 3), (8, 8, 1)), "one number of channels"),
        (((8, 8, 3), (6, 6, 3)), "two views of one shape"),
    ],
)
def test_refuses_views(shapes, message):
    with pytest.raises(ValueError, match=message):
        simclr.SimCLR(contract.encoder, contract.projector).begin(contract.Contract().spec(view_shapes=shapes))


def test_refuses_more_kept_layers_than_the_head_has():
    with pytest.raises(ValueError, match="layers"):
        begun(kept_layers=2)
