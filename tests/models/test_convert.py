import keras
import numpy as np
import pytest
from keras import ops

from zoo import colors
from zoo.models import convert, convnet

IMAGES = np.random.default_rng(0).uniform(size=(2, 4, 4, 3)).astype("float32")


@pytest.mark.parametrize("space", ["lab", "ydbdr", "hsv"])
def test_keeps_the_channels_of_the_normalised_space(space):
    expected = ops.convert_to_numpy(colors.normalized(ops.convert_to_tensor(IMAGES), space))
    np.testing.assert_allclose(convert.Convert(space)(IMAGES), expected, atol=1e-6)
    np.testing.assert_allclose(convert.Convert(space, (2, 0))(IMAGES), expected[..., [2, 0]], atol=1e-6)


def test_rgb_only_picks():
    np.testing.assert_array_equal(convert.Convert(channels=(1,))(IMAGES), IMAGES[..., 1:2])


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="Keras' serializer imports TensorFlow")
def test_configuration_survives():
    layer = convert.Convert("lab", (1, 2), name="convert")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config() and (again.space, again.channels) == ("lab", (1, 2))


def test_towers_see_their_channels_alone():
    """The encoder of luma does not see a change of chroma, and takes RGB images all the same."""
    luma = convnet.convnet((4, 4, 3), (4,), space="ydbdr", channels=(0,))
    change = np.array([0.587, -0.299, 0.0], "float32") * 0.2  # of equal luma
    images = 0.3 + 0.4 * IMAGES
    np.testing.assert_allclose(luma(images + change), luma(images), atol=1e-5)
    assert luma.get_layer("conv1_1_conv").kernel.shape[2] == 1
    chroma = convnet.convnet((4, 4, 3), (4,), space="ydbdr", channels=(1, 2))
    assert np.abs(chroma(images + change) - chroma(images)).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lap",), "Did you mean"),
        (("lab", ()), "different channel numbers"),
        (("lab", (0, 0)), "different channel numbers"),
        (("lab", (1, True)), "different channel numbers"),
        (("rgb", (3,)), "below 3"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras.Sequential([keras.Input((4, 4, 3)), convert.Convert(*arguments)])
