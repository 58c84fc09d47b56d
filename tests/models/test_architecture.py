import functools
import json

import keras
import numpy as np
import pytest
from keras import ops

from zoo.models import architecture, convnet, heads, joined, mlp, resnet

FACTORIES = (
    (resnet.resnet18, {"image_shape": (16, 16, 1), "width": 0.125, "stem": "small", "mean": (0.5,), "padding": "byol"}),
    (resnet.resnet34, {"width": 0.0625, "zero_init_residual": False}),
    (resnet.resnet50, {"width": 0.0625, "pooling": None}),
    (resnet.resnet101, {"width": 0.0625, "padding": "simclr", "image_shape": (None, None, 3)}),
    (convnet.convnet, {"image_shape": (8, 8, 1), "widths": (4, 6), "depth": 2, "name": "little"}),
    (mlp.mlp, {"image_shape": (8, 8, 3), "widths": (4, 6), "mean": (0.5, 0.4, 0.3)}),
    (heads.projector, {"features": 8, "widths": (6, 4), "kernel_initializer": "he_normal"}),
)


@pytest.mark.parametrize(("factory", "arguments"), FACTORIES, ids=lambda value: getattr(value, "__name__", ""))
def test_json_rebuilds_the_same_weights(factory, arguments):
    model = factory(**arguments)
    record = json.loads(json.dumps(model.architecture))
    assert record == model.architecture
    assert record["factory"].endswith(f":{factory.__name__}")
    assert record["arguments"].keys() >= arguments.keys() | {"name"}
    again = architecture.build(record)
    assert [(v.path, v.shape, v.dtype) for v in again.variables] == [
        (v.path, v.shape, v.dtype) for v in model.variables
    ]
    assert again.architecture == record
    assert again.name == model.name
    assert again.output_shape == model.output_shape


def kept(image_shape):
    encoder = convnet.convnet(image_shape, widths=(4, 6), depth=2)
    return heads.kept(encoder, heads.projector(6, widths=(5, 3)), layers=1)


def towers(image_shape):
    sides = {"luma": (0,), "chroma": (1, 2)}
    return joined.join(
        [convnet.convnet(image_shape, (4, 6), space="lab", channels=sides[name], name=name) for name in sides]
    )


SIZED = {
    "convnet": functools.partial(convnet.convnet, widths=(4, 6, 8), depth=2, mean=0.4, std=0.3),
    "resnet18": functools.partial(resnet.resnet18, width=0.0625, padding="byol"),
    "resnet50": functools.partial(resnet.resnet50, width=0.0625, stem="small", padding="simclr"),
    "kept": kept,
    "joined": towers,
}
sized = pytest.mark.parametrize("name", SIZED)


@sized
def test_resized_to_a_size_and_back(name):
    """An encoder of any size gives, bit for bit, the features of one of the size of the images."""
    free = SIZED[name](image_shape=(None, None, 3))
    fixed = architecture.resized(free, (33, 40, 3))
    assert fixed.input_shape == (None, 33, 40, 3) and fixed.name == free.name
    assert fixed.smallest_size == free.smallest_size
    direct = SIZED[name](image_shape=(33, 40, 3))
    assert fixed.architecture == direct.architecture
    assert {level: x.shape for level, x in fixed.pyramid_outputs.items()} == {
        level: x.shape for level, x in direct.pyramid_outputs.items()
    }
    images = np.random.default_rng(0).uniform(size=(2, 33, 40, 3)).astype("float32")
    again = architecture.resized(fixed, (None, None, 3))
    assert again.architecture == free.architecture
    for training in (False, True):  # training last, since it moves the averages
        features = [ops.convert_to_numpy(model(images, training=training)) for model in (free, fixed, again)]
        np.testing.assert_array_equal(features[0], features[1])
        np.testing.assert_array_equal(features[0], features[2])
    assert not any(variable is other for variable in free.variables for other in fixed.variables)


def test_resized_keeps_policy_and_trainability():
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        free = convnet.convnet((None, None, 1), widths=(4,))
    finally:
        keras.config.set_dtype_policy(previous)
    free.trainable = False
    fixed = architecture.resized(free, (8, 8, 1))
    assert keras.config.dtype_policy() == previous
    assert not fixed.trainable_variables
    assert [layer.compute_dtype for layer in fixed.layers] == [layer.compute_dtype for layer in free.layers]


def test_resized_refuses_other_channels():
    with pytest.raises(ValueError, match=r"expected an `image_shape` \(H, W, 1\). Received: image_shape=\(8, 8, 3\)"):
        architecture.resized(convnet.convnet((None, None, 1), widths=(4,)), (8, 8, 3))
    with pytest.raises(ValueError, match="mlp: expected `image_shape` to be .* of known height and width"):
        architecture.resized(mlp.mlp((8, 8, 1), widths=(4,)), (None, None, 1))


BUILDERS = {
    **{name: functools.partial(build, image_shape=(None, None, 3)) for name, build in SIZED.items()},
    "mlp": functools.partial(mlp.mlp, widths=(6, 4)),
    "projector": functools.partial(heads.projector, 8, widths=(6, 4)),
    "jigsaw": functools.partial(heads.jigsaw, 8, 4, widths=(6, 5)),
    "truncated": lambda: heads.truncated(heads.projector(8, widths=(6, 5, 4)), 2),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_second_model_has_the_same_names(name):
    """A checkpoint names variables by their paths, so nothing may depend on what was built before in the process."""
    first, second = (BUILDERS[name]() for _ in range(2))
    assert [v.path for v in first.variables] == [v.path for v in second.variables]
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]


def test_defaults_are_recorded_and_overrides_win():
    record = convnet.convnet((8, 8, 1), widths=(4, 6)).architecture
    assert record["factory"] == "zoo.models.convnet:convnet"
    assert record["arguments"]["image_shape"] == [8, 8, 1]
    assert record["arguments"]["pooling"] == "avg"
    model = architecture.build(record, image_shape=(16, 16, 3))
    assert model.input_shape == (None, 16, 16, 3)


def test_record_survives_in_a_larger_model():
    model = convnet.convnet((8, 8, 1), widths=(4,))
    parent = keras.Sequential([model])
    assert type(parent.layers[0].architecture) is dict


@pytest.mark.parametrize(
    "factory",
    (
        "os:system",
        "zoo.models.resnet:keras",
        "zoo.models.resnet:_stem",
        "zoo.models.heads:truncated",
        "zoo.models.nowhere:resnet18",
        "zoo.seeds:shuffled",
        "zoo.models.resnet:resnet18.factory",
        None,
    ),
)
def test_only_factories_can_be_named(factory):
    with pytest.raises(ValueError, match="architecture.build: expected a model factory of zoo.models"):
        architecture.build({"factory": factory, "arguments": {}})


def test_a_slip_is_met_with_a_suggestion():
    with pytest.raises(ValueError, match="Did you mean 'width'"):
        architecture.build({"factory": "zoo.models.resnet:resnet18", "arguments": {"widht": 1}})
    with pytest.raises(ValueError, match="Did you mean 'convnet'"):
        architecture.build({"factory": "zoo.models.convnet:convnets", "arguments": {}})


def test_arguments_are_data():
    with pytest.raises(
        ValueError, match="expected `kernel_initializer` to be a value that JSON can hold. Received: kernel"
    ):
        heads.projector(8, kernel_initializer=keras.initializers.HeNormal())
