import numpy as np
import tensorflow as tf
from PIL import Image

from zoo.data import images


def noise(channels, seed=0):
    shape = (6, 9) if channels == 1 else (6, 9, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_fitted_to_its_own_size_is_the_central_square():
    pixels = noise(3)
    np.testing.assert_array_equal(images.fitted(tf.constant(pixels), 6), pixels[:, 1:7])


def test_halving_a_constant_and_a_ramp():
    ramp = np.tile(np.arange(0, 128, 4, dtype=np.uint8)[:, None, None], (1, 32, 1))
    halved = images.fitted(tf.constant(ramp), 16).numpy()[..., 0]
    # Away from the border an antialiased halving of a ramp is the mean of its neighbors: 8 i + 2.
    np.testing.assert_array_equal(halved[1:-1, 5], 8 * np.arange(1, 15) + 2)
    assert (images.fitted(tf.fill((7, 9, 3), tf.constant(77, tf.uint8)), 4).numpy() == 77).all()


def test_against_pillow():
    smooth = np.asarray(Image.fromarray(noise(3)).resize((60, 40), Image.BICUBIC))
    expected = np.asarray(Image.fromarray(smooth[:, 10:50]).resize((16, 16), Image.BILINEAR))
    found = images.fitted(tf.constant(smooth), 16).numpy()
    assert np.abs(found.astype(int) - expected).max() <= 1
