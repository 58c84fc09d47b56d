import numpy as np
import pytest
from keras import ops
from reference import autodiff, presets

from zoo.methods import method as methods
from zoo.methods import networks


@pytest.mark.parametrize(("number", "epoch"), [(0, 0), (3, 0), (4, 1), (11, 2), (19, 4)])
def test_a_step_knows_the_epoch_and_the_progress_of_the_run(number, epoch):
    for kind in ("int32", "int64"):
        step = methods.Step(ops.convert_to_tensor(np.asarray(number, kind)), steps=20, steps_per_epoch=4)
        assert int(step.epoch) == epoch and "int32" in str(step.epoch.dtype)
        assert float(step.progress) == pytest.approx(number / 20) and "float32" in str(step.progress.dtype)
        assert step.replicas.count == 1


def test_the_interface_says_what_a_method_lacks():
    method = methods.Method()
    with pytest.raises(NotImplementedError, match="Method: expected `begin` to be defined"):
        method.begin(presets.spec("moco"))
    with pytest.raises(NotImplementedError, match="Method: expected `contrast` to be defined"):
        method.contrast(presets.batch("moco"), presets.step())
    assert method.watch(presets.batch("moco")) == {} and method.remember((), presets.step()) is None
    assert method.new_epoch(0, None) is None


def test_embedders_return_unit_vectors_of_float32():
    embedder = networks.Embedder(presets.encoder, presets.projector, presets.SHAPE)
    vectors = ops.convert_to_numpy(embedder(presets.images("moco")[0]))
    assert vectors.shape == (8, embedder.width) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_an_embedder_takes_images_of_any_size():
    embedder = networks.Embedder(presets.encoder, presets.projector, presets.SHAPE)
    assert embedder(np.zeros((2, 12, 9, 3), "float32")).shape == (2, 4)
    assert embedder.encoder.input_shape == (None, None, None, 3)


def test_zero_embeddings_stay_zero_and_have_a_gradient_of_zero():
    lengths = 10.0 ** np.arange(-25, -6)
    z = np.array([[0, 0, 0], [3, 0, 4], *np.outer(lengths, [1, 0, 0])], "float32")
    values, (gradient,) = autodiff.value_and_gradients(lambda z: ops.sum(networks.unit(z), axis=1), z)
    np.testing.assert_allclose(values[:2], [0, 1.4], rtol=1e-6)
    assert np.isfinite(gradient).all() and not gradient[0].any()
    # That of 3 / 5 + 4 / 5, times the weight 2 of the second row: (1 - 0.6 * 1.4) / 5 and so on.
    np.testing.assert_allclose(gradient[1], [2 * 0.16 / 5, 2 / 5, 2 * -0.12 / 5], rtol=1e-4)
