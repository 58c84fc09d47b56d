import keras
import numpy as np
import pytest
from reference import resnet_numpy

from zoo.models import architecture, norm, resnet

# What each family pads at even sizes; at odd sizes all pad alike.
EVEN = {
    "torch": {"stem": (3, 3), "pool": (1, 1), "conv": (1, 1)},
    "simclr": {"stem": (3, 3), "pool": (0, 1), "conv": (1, 1)},
    "byol": {"stem": (2, 3), "pool": (0, 1), "conv": (0, 1)},
}
ODD = {"stem": (3, 3), "pool": (1, 1), "conv": (1, 1)}
RNG = np.random.default_rng(0)


def counted(model, kind):
    return sum(isinstance(layer, kind) for layer in model.layers)


def parameters(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


# torchvision's counts without the classifier: 11,689,512 - 513,000 and so on.
@pytest.mark.parametrize(
    ("name", "count", "convolutions"),
    (
        ("resnet18", 11_176_512, 20),
        ("resnet34", 21_284_672, 36),
        ("resnet50", 23_508_032, 53),
        ("resnet101", 42_500_160, 104),
    ),
)
def test_published_parameter_counts(name, count, convolutions):
    model = getattr(resnet, name)(image_shape=(None, None, 3))
    assert parameters(model) == count
    assert counted(model, keras.layers.Conv2D) == counted(model, norm.BatchNorm) == convolutions
    assert not any(layer.use_bias for layer in model.layers if isinstance(layer, keras.layers.Conv2D))


def test_152_layers():
    model = resnet.resnet152(width=0.0625)
    assert counted(model, keras.layers.Conv2D) == 155  # 151, and 4 in shortcuts


def test_projections_in_every_group_of_simclr_and_byol():
    names = ("torch", "simclr", "byol")
    models = [resnet.resnet18(padding=padding, width=0.0625) for padding in names]
    assert [counted(model, keras.layers.Conv2D) for model in models] == [20, 21, 21]
    chosen = resnet.resnet18(padding="torch", width=0.0625, project_first=True)
    assert counted(chosen, keras.layers.Conv2D) == 21


# At 32 pixels the maps are even down to 2, at 33 they are odd: 17, 9, 5, 3.
@pytest.mark.parametrize(
    ("name", "depths", "padding", "size"),
    (
        *(("resnet18", (2, 2, 2, 2), padding, size) for padding in EVEN for size in (32, 33)),
        *(("resnet50", (3, 4, 6, 3), padding, 32) for padding in ("torch", "byol")),
    ),
)
def test_whole_network_is_the_transcription(name, depths, padding, size):
    shape = (size, size, 1)
    model = getattr(resnet, name)(shape, width=0.0625, padding=padding, mean=0.4, std=0.3)
    for variable in model.variables:
        value = RNG.normal(size=variable.shape)
        if variable.name == "kernel":
            variable.assign(value / np.sqrt(np.prod(variable.shape[:-1])))
        else:
            variable.assign(0.5 + np.abs(value) if variable.name in ("gamma", "moving_variance") else 0.3 * value)
    images = RNG.uniform(size=(2, *shape)).astype("float32")
    weights = {v.path: np.array(v) for v in model.variables}
    pads = EVEN[padding] if size % 2 == 0 else ODD
    expected = resnet_numpy.forward((images - 0.4) / 0.3, weights, depths, pads)
    np.testing.assert_allclose(model.predict_on_batch(images), expected, rtol=1e-3, atol=1e-3)


def test_convolutions_have_no_pads_of_their_own():
    for padding in EVEN:
        model = resnet.resnet18(padding=padding, width=0.0625)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Conv2D) and layer.strides == (1, 1):
                assert layer.padding == "same"


@pytest.mark.parametrize(("stem", "first"), (("imagenet", 2), ("small", 0)))
@pytest.mark.parametrize("channels", (1, 3))
def test_pyramid_strides(stem, first, channels):
    model = resnet.resnet18((64, 96, channels), width=0.0625, stem=stem)
    assert list(model.pyramid_outputs) == [f"P{first + group}" for group in range(4)]
    for group, (level, output) in enumerate(model.pyramid_outputs.items()):
        stride = 2 ** int(level[1:])
        assert output.shape == (None, 64 // stride, 96 // stride, 4 * 2**group)
    levels = keras.Model(model.input, model.pyramid_outputs)
    assert levels(model.input).keys() == model.pyramid_outputs.keys()


def test_unknown_sizes_give_what_known_sizes_give():
    free = resnet.resnet18((None, None, 3), width=0.0625, stem="small")
    fixed = resnet.resnet18((16, 24, 3), width=0.0625, stem="small")
    fixed.set_weights(free.get_weights())
    images = RNG.uniform(size=(2, 16, 24, 3)).astype("float32")
    np.testing.assert_allclose(free.predict_on_batch(images), fixed.predict_on_batch(images), atol=1e-5)


@pytest.mark.parametrize("zero", (True, False))
def test_last_gamma_of_a_block(zero):
    model = resnet.resnet50(width=0.0625, stem="small", zero_init_residual=zero)
    last = [v for v in model.variables if v.path.endswith("_3_bn/gamma")]
    assert len(last) == 16
    assert all(np.all(np.array(v) == (0 if zero else 1)) for v in last)


def test_width_multiplies_all_channels_and_kernels_have_unit_gain():
    model = resnet.resnet50((None, None, 3), width=0.5)
    assert model.get_layer("conv1_conv").filters == 32
    assert model.get_layer("conv2_block1_2_conv").filters == 32
    assert model.output_shape == (None, 1024)
    kernel = np.array(model.get_layer("conv5_block1_2_conv").kernel)
    np.testing.assert_allclose(kernel.std(), 1 / np.sqrt(9 * 256), rtol=0.02)


def test_poolings():
    options = {"image_shape": (16, 16, 3), "width": 0.0625, "stem": "small"}
    whole = resnet.resnet18(pooling=None, **options)
    assert whole.output_shape == (None, 2, 2, 32)
    images = RNG.uniform(size=(2, 16, 16, 3)).astype("float32")
    maps = whole.predict_on_batch(images)
    for pooling, reduce in (("avg", np.mean), ("max", np.max)):
        model = architecture.build(whole.architecture, pooling=pooling)
        model.set_weights(whole.get_weights())
        np.testing.assert_allclose(model.predict_on_batch(images), reduce(maps, axis=(1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    (
        ({"image_shape": (32, 32)}, r"resnet18: expected `image_shape` to be \(height, width, channels\), None for"),
        ({"image_shape": (32, 32, None)}, "expected `image_shape` to have a known number of channels"),
        ({"image_shape": (28, 28, 1)}, "expected images of at least 32 x 32 pixels"),
        ({"image_shape": (4, 4, 1), "stem": "small"}, "expected images of at least 8 x 8 pixels"),
        ({"stem": "smal"}, "Did you mean 'small'"),
        ({"padding": "same"}, "expected `padding` to be one of 'torch', 'simclr', 'byol'. Received: padding='same'."),
        ({"width": 0}, "expected `width` > 0. Received: width=0."),
        ({"pooling": "mean"}, "Received: pooling='mean'"),
        ({"mean": (0.5, 0.5)}, "Received: mean="),
        ({"widht": 2}, "Did you mean 'width'"),
    ),
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        resnet.resnet18(**{"width": 0.0625, **kwargs})


def test_other_images_are_refused():
    model = resnet.resnet18((16, 16, 3), width=0.0625, stem="small")
    with pytest.raises(ValueError, match="(?s)expected shape|incompatible"):
        model(np.zeros((1, 16, 16, 1), "float32"))
