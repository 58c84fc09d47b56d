import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from zoo.data import decoding, images
from zoo.serving import signatures

LUMA = np.array([0.299, 0.587, 0.114])


def record(shape, **changes):
    return {"shape": list(shape), "interpolation": "bilinear", "antialias": True, "crop": "center", **changes}


def encoded(pixels, kind="PNG", mode=None, **options):
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def prepared(data, shape, **changes):
    # In a graph, as it is served.
    how = record(shape, **changes)
    function = tf.function(
        lambda files: signatures.prepared(files, how), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    return function(tf.constant([data])).numpy()[0]


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_files_give_their_pixels(kind):
    pixels = noise(6, 6, 3)
    np.testing.assert_allclose(prepared(encoded(pixels, kind), (6, 6, 3)), pixels / 255, atol=1e-7)


def test_webp_gives_its_pixels():
    pixels = noise(6, 6, 3)
    answer = prepared(encoded(pixels, "WEBP", lossless=True), (6, 6, 3))
    np.testing.assert_allclose(answer, pixels / 255, atol=1e-6)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_files_come_close(kind):
    pixels = np.repeat(np.repeat(noise(2, 2, 3), 8, 0), 8, 1)
    answer = prepared(encoded(pixels, kind, quality=100), (16, 16, 3))
    assert np.abs(answer - pixels / 255).mean() < 0.03


def test_gray_files_are_three_equal_channels():
    pixels = noise(6, 6)
    answer = prepared(encoded(pixels), (6, 6, 3))
    np.testing.assert_allclose(answer, np.repeat(pixels[..., None], 3, -1) / 255, atol=1e-6)


def test_colour_becomes_luma_and_gray_stays():
    pixels = noise(6, 6, 3)
    np.testing.assert_allclose(prepared(encoded(pixels), (6, 6, 1))[..., 0], pixels @ LUMA / 255, atol=0.6 / 255)
    np.testing.assert_allclose(prepared(encoded(pixels[..., 0]), (6, 6, 1))[..., 0], pixels[..., 0] / 255, atol=1e-6)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_lies_over_white(channels, kind):
    pixels = noise(6, 6, channels)
    if kind == "WEBP":
        pixels[..., -1] = np.where(pixels[..., -1] > 99, 255, 0)
    options = {"lossless": True} if kind == "WEBP" else {}
    alpha = pixels[..., -1:] / 255
    expected = np.broadcast_to(pixels[..., :-1] / 255 * alpha + 1 - alpha, (6, 6, 3))
    np.testing.assert_allclose(prepared(encoded(pixels, kind, **options), (6, 6, 3)), expected, atol=0.6 / 255)


def test_deep_palette_and_bilevel_png_files():
    deep = noise(6, 6, dtype=np.uint16)
    np.testing.assert_allclose(prepared(encoded(deep), (6, 6, 1))[..., 0], deep / 65535, atol=1.1 / 255)
    pixels = noise(6, 6, 3)
    palette = np.asarray(Image.fromarray(pixels).convert("P").convert("RGB"))
    np.testing.assert_allclose(prepared(encoded(pixels, mode="P"), (6, 6, 3)), palette / 255, atol=1e-6)
    bilevel = np.asarray(Image.fromarray(pixels).convert("1").convert("L"))
    np.testing.assert_allclose(prepared(encoded(pixels, mode="1"), (6, 6, 1))[..., 0], bilevel / 255, atol=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(20, 9), (9, 20), (3, 5), (1, 40), (16, 16)])
def test_other_sizes_are_cropped_and_resized_as_for_training(rows, columns):
    data = encoded(noise(rows, columns, 3))
    trained_on = images.fitted(tf.constant(decoding.decoded(data, 3)), 8).numpy() / 255
    np.testing.assert_allclose(prepared(data, (8, 8, 3)), trained_on, atol=0.51 / 255)


def test_the_middle_of_the_proportions_is_kept():
    pixels = np.zeros((12, 30), np.uint8)
    pixels[:, 3:27] = 255  # 12 x 24, as the encoder's 4 x 8
    np.testing.assert_array_equal(prepared(encoded(pixels), (4, 8, 1)), np.ones((4, 8, 1)))
    assert prepared(encoded(pixels), (4, 8, 1), crop="none")[:, 0].max() < 0.5


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "area", "lanczos3"])
@pytest.mark.parametrize("antialias", [True, False])
def test_every_interpolation_stays_in_range(interpolation, antialias):
    pixels = np.where(noise(15, 15) > 127, 255, 0).astype(np.uint8)
    answer = prepared(encoded(pixels), (7, 7, 1), interpolation=interpolation, antialias=antialias)
    expected = tf.image.resize(pixels[..., None] / 255, (7, 7), method=interpolation, antialias=antialias)
    np.testing.assert_allclose(answer, np.clip(expected, 0, 1), atol=1e-5)


def test_the_guard_lets_overshoot_and_empty_batches_pass():
    floats = tf.constant([[-0.9, 1.9]])
    np.testing.assert_array_equal(signatures.guarded(floats), floats)
    assert signatures.guarded(tf.zeros((0, 4, 4, 1))).shape == (0, 4, 4, 1)


def test_what_is_no_image_is_an_error_not_a_picture():
    for data in (b"", b"RIFF", b"no picture at all", encoded(noise(6, 6, 3))[:40]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            prepared(data, (6, 6, 3))
