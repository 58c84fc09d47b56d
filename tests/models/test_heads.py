import json

import keras
import numpy as np
import pytest
from keras import ops
from reference import multiview_numpy

from zoo.models import architecture, convnet, heads

features = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")


def normalized(x):
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)


def test_simclr_head_has_no_bias_and_no_last_beta():
    head = heads.projector(6, widths=(5, 4, 3))
    assert [
        v.path.split("/", 1)[-1] if v.path.startswith("projector") else v.path for v in head.trainable_variables
    ] == [
        "hidden1/kernel",
        "hidden1_bn/gamma",
        "hidden1_bn/beta",
        "hidden2/kernel",
        "hidden2_bn/gamma",
        "hidden2_bn/beta",
        "embedding/kernel",
        "embedding_bn/gamma",
    ]
    x = features.astype("float64")
    first, second, last = (np.array(head.get_layer(n).kernel, "float64") for n in ("hidden1", "hidden2", "embedding"))
    x = np.maximum(normalized(x @ first), 0)
    x = np.maximum(normalized(x @ second), 0)
    y = ops.convert_to_numpy(head(features, training=True))
    np.testing.assert_allclose(y, normalized(x @ last), atol=1e-3)


def test_moco_and_byol_heads():
    head = heads.projector(6, widths=(5, 3), batch_norm=False, use_bias=True)
    assert [v.path for v in head.variables] == ["hidden1/kernel", "hidden1/bias", "embedding/kernel", "embedding/bias"]
    head.get_layer("hidden1").bias.assign(np.arange(5) - 2.0)
    first, shift, last, bias = (np.array(v) for v in head.variables)
    expected = np.maximum(features @ first + shift, 0) @ last + bias
    np.testing.assert_allclose(ops.convert_to_numpy(head(features)), expected, atol=1e-5)
    head = heads.projector(6, widths=(5, 3), final_norm=False)
    assert [layer.name for layer in head.layers][-2:] == ["hidden1_relu", "embedding"]


@pytest.mark.parametrize("final_norm", [False, True])
def test_predictor_is_a_hidden_layer_and_a_linear_one(final_norm):
    head = heads.predictor(6, width=5, final_norm=final_norm, use_bias=not final_norm)
    hidden, *rest = (np.array(v, "float64") for v in head.trainable_variables if v.path.split("/")[-1] == "kernel")
    x = np.maximum(normalized(features.astype("float64") @ hidden), 0) @ rest[0]
    expected = normalized(x) if final_norm else x
    np.testing.assert_allclose(head(features, training=True), expected, atol=1e-3)
    assert all(v.path.startswith("predictor_") for v in head.variables)
    last = [v.path.split("/")[-1] for v in head.trainable_variables[3:]]
    assert last == (["kernel"] if final_norm else ["kernel", "bias"])


def test_the_last_norm_of_a_projector_may_lack_its_scale():
    head = heads.projector(6, widths=(5, 3), final_scale=False)
    assert [v.path for v in head.trainable_variables][-1] == "embedding/kernel"
    kernel = head.get_layer("embedding").kernel
    kernel.assign(kernel * 100)  # so that the epsilon of batch norm does not show
    found = ops.convert_to_numpy(head(features, training=True))
    np.testing.assert_allclose(found.std(axis=0), 1, rtol=1e-3)


def test_jigsaw_head_is_pirls():
    head = heads.jigsaw(6, 3, patches=4, widths=(5, 2))
    for variable in head.variables:
        variable.assign(variable + 0.1 * np.random.default_rng(1).normal(size=variable.shape))
    expected = multiview_numpy.jigsaw_head(features.reshape(4, 4, 6), multiview_numpy.weights_of(head), 2)
    np.testing.assert_allclose(head(features.reshape(4, 4, 6)), expected, atol=1e-5)


def test_initial_kernels():
    head = heads.projector(256, widths=(256, 128))
    np.testing.assert_allclose(np.array(head.get_layer("hidden1").kernel).std(), 0.01, rtol=0.02)
    head = heads.projector(256, widths=(256, 128), batch_norm=False)
    np.testing.assert_allclose(np.array(head.get_layer("hidden1").kernel).std(), 1 / 16, rtol=0.02)
    head = heads.projector(256, widths=(256, 256, 8), kernel_initializer="he_normal")
    first, second = (np.array(head.get_layer(f"hidden{n}").kernel) for n in (1, 2))
    np.testing.assert_allclose(first.std(), np.sqrt(2) / 16, rtol=0.02)
    assert not np.allclose(first, second)


def test_truncated_shares_weights_and_ends_after_the_activation():
    head = heads.projector(6, widths=(5, 4, 3))
    first = heads.truncated(head, layers=1)
    assert first.output_shape == (None, 5)
    assert all(any(v is w for w in head.variables) for v in first.variables)
    expected = keras.Model(head.input, head.get_layer("hidden1_relu").output)(features)
    np.testing.assert_array_equal(ops.convert_to_numpy(first(features)), ops.convert_to_numpy(expected))
    assert ops.convert_to_numpy(first(features)).min() == 0
    assert heads.truncated(head, layers=2).output_shape == (None, 4)


def test_kept_continues_the_encoder():
    encoder = convnet.convnet((8, 8, 1), widths=(4, 6))
    head = heads.projector(6, widths=(5, 3))
    images = np.random.default_rng(0).uniform(size=(2, 8, 8, 1)).astype("float32")
    model = heads.kept(encoder, head, layers=1)
    assert all(any(v is w for w in encoder.variables + head.variables) for v in model.variables)
    expected = heads.truncated(head, layers=1)(encoder(images))
    np.testing.assert_allclose(ops.convert_to_numpy(model(images)), ops.convert_to_numpy(expected), atol=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="Received: widths="):
        heads.projector(6, widths=())
    with pytest.raises(ValueError, match="Received: features="):
        heads.projector(None)
    with pytest.raises(ValueError, match="expected `layers` from 1 to the head's 1 hidden layers. Received: layers=2."):
        heads.truncated(heads.projector(6, widths=(5, 3)), layers=2)


def test_what_is_kept_is_built_again_from_its_record():
    encoder = convnet.convnet((8, 8, 1), (4, 8))
    model = heads.kept(encoder, heads.projector(8, (16, 16, 4)), layers=1)
    assert model.output_shape == (None, 16) and model.pyramid_outputs.keys() == encoder.pyramid_outputs.keys()
    again = architecture.build(json.loads(json.dumps(model.architecture)))
    assert [v.shape for v in again.variables] == [v.shape for v in model.variables]
    images = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype("float32")
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(images), model(images))
    assert architecture.build(model.architecture, image_shape=(16, 16, 1)).input_shape == (None, 16, 16, 1)
