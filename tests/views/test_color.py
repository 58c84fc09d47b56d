import keras
import numpy as np
import pytest
from keras import ops
from reference import views_numpy

from zoo import seeds
from zoo.views import color

RECIPES = ["simclr", "simclr_v1", "torchvision"]


def images_of(batch, channels):
    images = np.random.default_rng(2).random((batch, 6, 5, channels), dtype="float32")
    images[:, 0] = 0.0
    images[:, 1] = 1.0
    images[:, 2] = images[:, 2, :, :1]  # gray
    return images


def drawn_as_numpy(jitter, batch, shape):
    drawn = jitter.draw(seeds.Seed(7).fold(np.arange(batch)), shape)
    return drawn, {name: ops.convert_to_numpy(value) for name, value in drawn.items()}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_jitter_is_the_four_changes_in_the_drawn_order(recipe, channels, strength):
    jitter, images = color.Jitter(recipe=recipe, strength=strength), images_of(30, channels)
    drawn, numbers = drawn_as_numpy(jitter, 30, images.shape[1:])
    assert len({tuple(order) for order in numbers["order"]}) > 12
    found = ops.convert_to_numpy(jitter.apply(ops.convert_to_tensor(images), drawn))
    for row, image in enumerate(images.astype("float64")):
        expected = views_numpy.jittered(image, recipe=recipe, **{name: value[row] for name, value in numbers.items()})
        np.testing.assert_allclose(found[row], expected, atol=2e-5)


@pytest.mark.parametrize("recipe", ["simclr", "simclr_v1"])
def test_jitter_is_what_tf_image_makes_of_it(recipe):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("compares with tf.image")
    tf = pytest.importorskip("tensorflow")
    jitter, images = color.Jitter(recipe=recipe), images_of(24, 3)
    drawn, numbers = drawn_as_numpy(jitter, 24, images.shape[1:])
    found = jitter.apply(tf.constant(images), drawn).numpy()
    for row, image in enumerate(images):
        row_drawn = {name: value[row] for name, value in numbers.items()}
        for what in row_drawn["order"]:
            if what == 0:
                image = image + row_drawn["brightness"] if recipe == "simclr_v1" else image * row_drawn["brightness"]
            elif what == 1:
                image = tf.image.adjust_contrast(image, row_drawn["contrast"])
            elif what == 2:
                image = tf.image.adjust_saturation(image, row_drawn["saturation"])
            else:
                image = tf.image.adjust_hue(image, row_drawn["hue"])
            image = tf.clip_by_value(image, 0.0, 1.0)
        np.testing.assert_allclose(found[row], image, atol=2e-5)


def test_factors_fill_their_ranges():
    jitter = color.Jitter(brightness=1.5, contrast=0.8, saturation=0.4, hue=0.2, strength=0.5)
    _, numbers = drawn_as_numpy(jitter, 2000, (4, 4, 3))
    for name, low, high in (
        ("brightness", 0.25, 1.75),
        ("contrast", 0.6, 1.4),
        ("saturation", 0.8, 1.2),
        ("hue", -0.1, 0.1),
    ):
        values, margin = numbers[name], (high - low) / 50
        assert low <= values.min() < low + margin and high - margin < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 2 * margin
    assert np.array_equal(np.sort(numbers["order"], axis=1), np.tile(np.arange(4), (2000, 1)))
    counts = np.unique(numbers["order"], axis=0, return_counts=True)[1]
    assert len(counts) == 24 and counts.min() > 50 and counts.max() < 120
    _, strong = drawn_as_numpy(color.Jitter(brightness=1.5), 200, (4, 4, 3))
    assert strong["brightness"].min() >= 0
    _, added = drawn_as_numpy(color.Jitter(brightness=0.4, recipe="simclr_v1"), 2000, (4, 4, 3))
    assert -0.4 <= added["brightness"].min() < -0.38 and 0.38 < added["brightness"].max() <= 0.4


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_strength_changes_nothing(recipe):
    images = images_of(5, 3)
    found = color.Jitter(strength=0.0, recipe=recipe)(images, seeds.Seed(1).fold(np.arange(5)))
    np.testing.assert_array_equal(ops.convert_to_numpy(found), images)


def test_a_third_of_the_circle_turns_red_into_green():
    pixels = np.eye(3, dtype="float32")[:, :, None]  # [3, 3, 1]: red, green, blue
    turned = color.hue_turned(ops.convert_to_tensor(pixels), ops.convert_to_tensor(np.full(3, 1 / 3, "float32")))
    np.testing.assert_allclose(ops.convert_to_numpy(turned)[..., 0], np.roll(np.eye(3), 1, axis=1), atol=1e-6)


def test_grayscale_is_luma():
    images, seed = images_of(3, 3), seeds.Seed(1).fold(np.arange(3))
    found = ops.convert_to_numpy(color.Grayscale()(images, seed))
    expected = np.repeat([views_numpy.luma(image) for image in images], 3, axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    array = images[..., :1]
    np.testing.assert_array_equal(ops.convert_to_numpy(color.Grayscale()(array, seed)), array)


def test_solarize_inverts_what_is_bright():
    pixels = np.array([0.0, 0.2, 0.49, 0.5, 0.8, 1.0], "float32").reshape(1, 1, 6, 1)
    found = ops.convert_to_numpy(color.Solarize()(pixels, seeds.Seed(1).fold(np.arange(1))))
    np.testing.assert_allclose(found.ravel(), [0.0, 0.2, 0.49, 0.5, 0.2, 0.0], atol=1e-6)
