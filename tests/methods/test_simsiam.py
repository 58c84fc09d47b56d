import family_contract
import numpy as np
from keras import ops
from reference import family, memory_numpy

from zoo.methods import simsiam
from zoo.models import heads


class TestSimSiam(family_contract.WithCrops):
    name = "simsiam"


def test_loss_is_algorithm_1():
    method, batch = family_contract.begun("simsiam"), family_contract.batch()
    projections = [method.embedder.project(view, training=True) for view in batch.views]
    predictions = [method.predictor.head(projection, training=True) for projection in projections]
    z1, z2, p1, p2 = (
        memory_numpy.unit(ops.convert_to_numpy(values).astype("float64")) for values in (*projections, *predictions)
    )
    expected = -(np.sum(p1 * z2, axis=1) + np.sum(p2 * z1, axis=1)) / 2
    found, logs, _ = method.contrast(batch, family_contract.step())
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(logs["similarity"], -expected.mean(), atol=1e-5)


def test_no_gradient_reaches_the_target():
    """A predictor that always says the same passes no gradient on; nothing else may reach the encoder."""

    def predictor(width):
        return heads.predictor(width, 16, use_bias=True)

    method = simsiam.SimSiam(family.encoder, family.projector, predictor)
    laws = TestSimSiam()
    method.begin(laws.spec())
    output = method.predictor.head.get_layer("predictor_output")
    output.kernel.assign(ops.zeros((16, 4)))
    output.bias.assign(np.array([1.0, -2.0, 3.0, 0.5]))
    gradients = laws.gradients(method, family_contract.batch())
    trained = [v.path for v in method.trainable_variables]
    reached = {path for path, g in zip(trained, gradients, strict=True) if np.abs(ops.convert_to_numpy(g)).max() > 0}
    assert reached == {"predictor_output/kernel", "predictor_output/bias"}
