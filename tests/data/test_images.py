import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from zoo.data import images


def encoded(pixels, mode, form):
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, form, **({"lossless": True} if form == "WEBP" else {}))
    return file.getvalue()


def noise(channels, seed=0):
    shape = (6, 9) if channels == 1 else (6, 9, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def luma(rgb):
    return np.floor((rgb.astype(np.int64) @ [299, 587, 114] + 500) / 1000).astype(np.uint8)[..., None]


def over_white(pixels):
    color, alpha = pixels[..., :-1].astype(np.float64), pixels[..., -1:] / 255
    return np.floor(color * alpha + 255 * (1 - alpha) + 0.5 - 1e-9).astype(np.uint8)


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP"])
def test_color_is_kept_or_becomes_its_luma(form):
    rgb = noise(3)
    data = encoded(rgb, "RGB", form)
    np.testing.assert_array_equal(images.decoded(data, 3), rgb)
    np.testing.assert_array_equal(images.decoded(data, 1), luma(rgb))


def test_gray_is_kept_or_repeated():
    gray = noise(1)
    data = encoded(gray, "L", "PNG")
    np.testing.assert_array_equal(images.decoded(data, 1)[..., 0], gray)
    np.testing.assert_array_equal(images.decoded(data, 3), np.stack([gray] * 3, -1))


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 4), ("LA", 2)])
def test_transparency_lies_over_white(mode, channels):
    pixels = noise(channels)
    expected = over_white(pixels)
    if channels == 2:
        expected = np.repeat(expected, 3, -1)
    found = images.decoded(encoded(pixels, mode, "PNG"), 3).numpy()
    np.testing.assert_allclose(found.astype(int), expected, atol=1)
    assert (found[pixels[..., -1] == 0] == 255).all()


def test_an_animation_yields_its_first_frame():
    first, second = (Image.fromarray(np.full((4, 5), value, np.uint8)) for value in (10, 200))
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(images.decoded(file.getvalue(), 3), np.full((4, 5, 3), 10))


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
