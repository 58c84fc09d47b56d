import warnings

import keras
import numpy as np
import pytest
from keras import ops

from zoo.models import standardize

images = np.random.default_rng(0).uniform(size=(2, 4, 4, 3)).astype("float32")


def test_values_per_channel_and_for_all():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    y = ops.convert_to_numpy(standardize.Standardize(mean, std)(images))
    np.testing.assert_allclose(y, (images - np.array(mean)) / np.array(std), atol=1e-5)
    y = ops.convert_to_numpy(standardize.Standardize(0.5, 0.5)(images))
    np.testing.assert_allclose(y, 2 * images - 1, atol=1e-6)
    np.testing.assert_array_equal(ops.convert_to_numpy(standardize.Standardize()(images)), images)


def test_pixels_are_standardized_before_they_are_narrowed():
    # At a mean of .75 bfloat16 pixels differ by 1/256; their distance to the mean is finer than that.
    x = np.full((1, 1, 1, 1), 0.7501, "float32")
    y = standardize.Standardize(0.75, 1.0, dtype="mixed_bfloat16")(x)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    np.testing.assert_allclose(float(ops.cast(y, "float32")[0, 0, 0, 0]), 1e-4, rtol=1e-2)


def test_bytes_warn_when_called_and_not_when_traced():
    layer = standardize.Standardize()
    with pytest.warns(UserWarning, match=r"expected images in \[0, 1\]. Received: max=255. Divide by 255."):
        layer(np.full((1, 2, 2, 3), 255, "uint8"))
    model = keras.Sequential([keras.Input((4, 4, 3)), layer])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(images)
        layer(2 * images)  # what a view may overshoot is no mistake of scale
        model.predict(255 * images, verbose=0)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="Keras' serializer imports TensorFlow")
def test_configuration_survives():
    layer = standardize.Standardize((0.1, 0.2, 0.3), 0.5, name="standardize")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    (
        ({"mean": "imagenet"}, "Received: mean='imagenet'"),
        ({"std": (0.5, 0.0, 0.5)}, "expected a positive standard deviation"),
        ({"mean": (0.5, 0.5)}, "expected `mean` to be 1 number, or one for each of 3 channels"),
    ),
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        standardize.Standardize(**kwargs)(images)
