import keras
import numpy as np
import pytest
from keras import ops
from reference import views_numpy

from zoo import seeds
from zoo.views import geometry


def images_of(batch, height, width, channels):
    return np.random.default_rng(1).random((batch, height, width, channels), dtype="float32")


def seed_of(batch):
    return seeds.Seed(5).fold(np.arange(batch))


@pytest.mark.parametrize("height, width", [(8, 8), (33, 20), (12, 40), (4, 60), (60, 4)])
def test_boxes_are_those_of_torchvision(height, width):
    crop, seed = geometry.Crop(8, area=(0.2, 1.0)), seed_of(200)
    boxes = ops.convert_to_numpy(crop.draw(seed, (height, width, 3))["box"])
    unit = ops.convert_to_numpy(seed.uniform((22,))).astype("float64")
    expected = [views_numpy.first_box(u, height, width, crop.area, crop.aspect) for u in unit]
    # A side within float32's rounding of a half may be rounded the other way.
    assert np.mean(np.all(boxes == expected, axis=1)) > 0.99
    top, left, tall, wide = boxes.T
    assert top.min() >= 0 and left.min() >= 0 and (top + tall).max() <= height and (left + wide).max() <= width


def test_boxes_have_the_areas_and_aspects_that_were_asked_for():
    box = ops.convert_to_numpy(geometry.Crop(8, area=(0.1, 0.4)).draw(seed_of(3000), (400, 400, 3))["box"])
    area, aspect = box[:, 2] * box[:, 3] / 400**2, box[:, 3] / box[:, 2]
    assert abs(area.min() - 0.1) < 0.002 and abs(area.max() - 0.4) < 0.002 and abs(area.mean() - 0.25) < 0.01
    assert abs(np.log(aspect)).max() < np.log(4 / 3) + 0.01 and abs(np.log(aspect).mean()) < 0.01
    assert abs((box[:, 0] / (400 - box[:, 2])).mean() - 0.5) < 0.02


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_is_cut_out_and_resized(interpolation, antialias, channels):
    crop = geometry.Crop((9, 12), interpolation=interpolation, antialias=antialias)
    images, drawn = images_of(6, 31, 25, channels), crop.draw(seed_of(6), (31, 25, channels))
    found = ops.convert_to_numpy(crop.apply(ops.convert_to_tensor(images), drawn))
    for image, result, box in zip(images, found, ops.convert_to_numpy(drawn["box"]).astype(int), strict=True):
        cut = image[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
        expected = views_numpy.resized(cut, 9, 12, interpolation, antialias)
        np.testing.assert_allclose(result, expected, atol=2e-5)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_crop_is_what_tf_image_makes_of_it(interpolation, antialias):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("compares with tf.image")
    tf = pytest.importorskip("tensorflow")
    crop = geometry.Crop((9, 12), interpolation=interpolation, antialias=antialias)
    images, drawn = images_of(6, 31, 25, 3), crop.draw(seed_of(6), (31, 25, 3))
    found = crop.apply(tf.constant(images), drawn).numpy()
    for image, result, (top, left, tall, wide) in zip(images, found, drawn["box"].numpy().astype(int), strict=True):
        cut = image[top : top + tall, left : left + wide]
        peer = tf.image.resize(cut, (9, 12), method=interpolation, antialias=antialias)
        # tf.image looks its cubic kernel up in a table of 1024 entries.
        tolerance = 2e-3 if interpolation == "bicubic" and not antialias else 2e-5
        np.testing.assert_allclose(result, np.clip(peer, 0, 1), atol=tolerance)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_whole_image_at_its_own_size_is_itself(interpolation):
    images = images_of(3, 7, 7, 3)
    for view in (
        geometry.Crop(7, area=(1, 1), aspect=(1, 1), interpolation=interpolation),
        geometry.CenterCrop(7, proportion=1.0, interpolation=interpolation),
    ):
        np.testing.assert_allclose(ops.convert_to_numpy(view(images, seed_of(3))), images, atol=1e-6)


def test_a_linear_ramp_stays_linear():
    ramp = np.tile(np.linspace(0, 1, 32, dtype="float32")[None, None, :, None], (1, 32, 1, 1))
    halved = ops.convert_to_numpy(geometry.CenterCrop(16, proportion=1.0)(ramp, seed_of(1)))[0, 0, :, 0]
    np.testing.assert_allclose(halved, (2 * np.arange(16) + 0.5) / 31, atol=1e-6)


def test_the_center_crop_keeps_the_aspect_of_the_result():
    drawn = geometry.CenterCrop((10, 20)).draw(seed_of(2), (64, 64, 3))
    np.testing.assert_array_equal(ops.convert_to_numpy(drawn["box"]), [[18, 4, 28, 56]] * 2)


def test_flips_mirror_half_of_the_images():
    images = images_of(1000, 2, 3, 1)
    found = ops.convert_to_numpy(geometry.Flip()(images, seed_of(1000)))
    kept = np.all(found == images, axis=(1, 2, 3))
    mirrored = np.all(found == images[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(kept ^ mirrored) and 0.45 < mirrored.mean() < 0.55


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("outputs", [1, 5, 19, 40])
def test_fetching_neighbors_is_weighting_all(outputs, interpolation):
    random = np.random.default_rng(outputs)
    images = random.random((30, 19, 23, 3), dtype="float32")
    start, length = (random.integers(low, 10, 30).astype("float32") for low in (0, 1))
    weights = ops.convert_to_numpy(geometry.interpolation_weights(start, length, 19, outputs, interpolation))
    given = (ops.convert_to_tensor(array) for array in (images, start, length))
    found = geometry._fetched(*given, outputs, interpolation)
    np.testing.assert_allclose(found, np.einsum("boh,bhwc->bowc", weights, images), atol=1e-5)
