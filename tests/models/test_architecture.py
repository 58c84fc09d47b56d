import json

import keras
import pytest

from zoo.models import architecture, convnet, heads, mlp, resnet

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
    with pytest.raises(ValueError, match="expected an argument that JSON can hold. Received: kernel_initializer="):
        heads.projector(8, kernel_initializer=keras.initializers.HeNormal())
