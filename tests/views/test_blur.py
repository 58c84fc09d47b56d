import numpy as np
import pytest
from keras import ops
from reference import views_numpy

from zoo import context, seeds
from zoo.views import blur


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("padding", ["zero", "reflect"])
@pytest.mark.parametrize("height, width, channels", [(12, 12, 3), (9, 14, 1)])
def test_blur_is_a_separable_convolution(padding, height, width, channels, one_by_one):
    images = np.random.default_rng(3).random((5, height, width, channels), dtype="float32")
    blurred = blur.Blur(kernel_size=7, padding=padding)
    drawn = blurred.draw(seeds.Seed(2).fold(np.arange(5)), images.shape[1:])
    with context.using(image_by_image=one_by_one):
        found = ops.convert_to_numpy(blurred.apply(ops.convert_to_tensor(images), drawn))
    sigma = ops.convert_to_numpy(drawn["sigma"])
    assert len(set(sigma)) == 5
    for row, image in enumerate(images):
        expected = views_numpy.blurred(image.astype("float64"), sigma[row], 3, padding)
        np.testing.assert_allclose(found[row], expected, atol=2e-6)


def test_sigma_fills_its_range():
    sigma = ops.convert_to_numpy(blur.Blur().draw(seeds.Seed(2).fold(np.arange(2000)), (8, 8, 3))["sigma"])
    assert 0.1 <= sigma.min() < 0.12 and 1.98 < sigma.max() <= 2.0 and abs(sigma.mean() - 1.05) < 0.05


def test_kernels_have_the_sizes_of_the_authors_code():
    sizes = {height: 2 * blur.Blur().radius(height) + 1 for height in (8, 32, 96, 224)}
    assert sizes == {8: 1, 32: 3, 96: 9, 224: 23}
    assert 2 * blur.Blur(kernel_size=5).radius(224) + 1 == 5


def test_flat_images_stay_flat_when_reflected():
    images = np.full((2, 10, 10, 3), 0.6, "float32")
    found = blur.Blur(kernel_size=9, padding="reflect")(images, seeds.Seed(2).fold(np.arange(2)))
    np.testing.assert_allclose(ops.convert_to_numpy(found), images, atol=1e-6)


def test_a_kernel_wider_than_the_image_cannot_be_reflected():
    with pytest.raises(ValueError, match="Blur: expected images larger than the kernel's radius. Received: radius=4"):
        blur.Blur(kernel_size=9, padding="reflect")(np.zeros((1, 4, 4, 1), "float32"), seeds.Seed(2).fold(np.arange(1)))
