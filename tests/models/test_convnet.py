import keras
import numpy as np
import pytest
from keras import ops

from zoo.models import convnet, heads, mlp, norm

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("side", "channels", "sides"), ((28, 1, (28, 14, 7)), (8, 1, (8, 4, 2)), (9, 3, (9, 5, 3))))
@pytest.mark.parametrize("depth", (1, 2))
def test_stages_halve_the_map(side, channels, sides, depth):
    shape, widths = (side, side, channels), (4, 6, 8)
    model = convnet.convnet(shape, widths=widths, depth=depth)
    assert model.output_shape == (None, 8)
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers) == 3 * depth
    expected = {f"P{i}": (None, sides[i], sides[i], widths[i]) for i in range(3)}
    assert {level: output.shape for level, output in model.pyramid_outputs.items()} == expected
    assert model(np.zeros((2, *shape), "float32")).shape == (2, 8)


def test_parameter_counts():
    model = convnet.convnet((None, None, 3))
    # Kernels 9 * C * F, then gamma and beta.
    pairs = ((3, 32), (32, 64), (64, 128), (128, 256))
    expected = sum(9 * c * f + 2 * f for c, f in pairs)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == expected
    model = mlp.mlp((8, 8, 1), widths=(16, 8))
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 64 * 16 + 2 * 16 + 16 * 8 + 2 * 8
    assert model.pyramid_outputs == {}


def test_mlp_is_matrix_products():
    model = mlp.mlp((4, 4, 1), widths=(5, 3), mean=0.5, std=0.25)
    images = RNG.uniform(size=(6, 4, 4, 1)).astype("float32")
    x = (images.reshape(6, -1) - 0.5) / 0.25
    for index in (1, 2):
        x = np.maximum(x @ np.array(model.get_layer(f"dense{index}").kernel) / np.sqrt(1 + 1e-5), 0)
    np.testing.assert_allclose(ops.convert_to_numpy(model(images)), x, atol=1e-5)


@pytest.mark.parametrize("jit", ("auto", True))
@pytest.mark.parametrize("policy", ("float32", "mixed_bfloat16"))
def test_a_compiled_step_learns(jit, policy):
    # Encoder and head together, traced, and by XLA: bright images against dark ones.
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        encoder = convnet.convnet((8, 8, 1), widths=(4, 8))
        model = keras.Model(encoder.input, heads.projector(8, widths=(8, 1))(encoder.output))
    finally:
        keras.config.set_dtype_policy(previous)
    labels = np.arange(32) % 2
    images = (0.1 + 0.8 * labels[:, None, None, None] + 0.1 * RNG.uniform(size=(32, 8, 8, 1))).astype("float32")
    targets = 2.0 * labels[:, None].astype("float32") - 1
    model.compile(keras.optimizers.Adam(0.02), loss="mse", jit_compile=jit)
    losses = [float(model.train_on_batch(images, targets)) for _ in range(25)]
    assert losses[-1] < 0.5 * losses[0]
    averages = [layer.moving_mean for layer in model.layers[1:-1] if isinstance(layer, norm.BatchNorm)]
    assert averages and all(np.any(np.array(v) != 0) for v in averages)


@pytest.mark.parametrize(
    ("factory", "kwargs", "message"),
    (
        (convnet.convnet, {"image_shape": (4, 4, 1)}, "convnet: expected images of at least 8 x 8 pixels"),
        (convnet.convnet, {"image_shape": (8, 8, None)}, "expected `image_shape` to have a known number of channels"),
        (convnet.convnet, {"space": "labb"}, "Did you mean 'lab'"),
        (convnet.convnet, {"image_shape": (8, 8, 1), "space": "lab"}, "images of 3 channels for lab"),
        (convnet.convnet, {"channels": (3,)}, "expected channel numbers below 3"),
        (
            convnet.convnet,
            {"widths": ()},
            r"expected `widths` to be one or more positive integers. Received: widths=\(\).",
        ),
        (convnet.convnet, {"widths": (4, 0)}, "Received: widths="),
        (convnet.convnet, {"depth": 0}, "Received: depth=0."),
        (
            mlp.mlp,
            {"image_shape": (None, None, 1)},
            r"mlp: expected `image_shape` to be \(height, width, channels\) of known",
        ),
        (mlp.mlp, {"widths": 3}, "Received: widths=3."),
    ),
)
def test_errors(factory, kwargs, message):
    with pytest.raises(ValueError, match=message):
        factory(**kwargs)
