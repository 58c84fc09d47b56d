import json

import numpy as np
import pytest
from keras import ops

from zoo.models import architecture, convnet, joined

IMAGES = np.random.default_rng(0).uniform(size=(3, 8, 8, 3)).astype("float32")


def towers(**arguments):
    channels = {"luma": (0,), "chroma": (1, 2)}
    shared = {"image_shape": (8, 8, 3), "widths": (4, 6), "space": "lab", **arguments}
    return [convnet.convnet(**shared, channels=channels[name], name=name) for name in channels]


def test_features_stand_side_by_side_and_so_do_maps():
    luma, chroma = towers()
    model = joined.join([luma, chroma])
    expected = np.concatenate([ops.convert_to_numpy(each(IMAGES)) for each in (luma, chroma)], axis=1)
    np.testing.assert_allclose(model(IMAGES), expected, atol=1e-6)
    assert {name: tuple(x.shape) for name, x in model.pyramid_outputs.items()} == {
        "P0": (None, 8, 8, 8),
        "P1": (None, 4, 4, 12),
    }


@pytest.mark.parametrize(("shape", "pooling"), [(None, "avg"), (None, "max"), ((16, 16, 3), "avg")])
def test_record_builds_it_again(shape, pooling):
    model = joined.join(towers(pooling=pooling))
    record = json.loads(json.dumps(model.architecture))
    again = architecture.build(record, **({} if shape is None else {"image_shape": shape}))
    assert again.input_shape == (None, *(shape or (8, 8, 3))) and again.output_shape == (None, 12)
    again.set_weights(model.get_weights())
    if shape is None:
        np.testing.assert_allclose(again(IMAGES), model(IMAGES), atol=1e-6)
    assert architecture.build(record, pooling=None).output_shape == (None, 4, 4, 12)


@pytest.mark.parametrize(
    ("other", "message"), [({"image_shape": (8, 8, 1)}, "of one input shape"), ({"pooling": "max"}, "of one pooling")]
)
def test_refuses_encoders_that_do_not_fit(other, message):
    with pytest.raises(ValueError, match=message):
        joined.join([towers()[0], convnet.convnet(**{"image_shape": (8, 8, 3), "widths": (4,), **other})])
