import numpy as np
import pytest
from keras import ops
from reference import views_numpy

from zoo import seeds
from zoo.views import frequency, view


def both(sigma, images):
    fork = view.Fork((frequency.LowPass(sigma), frequency.HighPass(sigma)))
    return [ops.convert_to_numpy(array) for array in fork(images, seeds.Seed(0).fold(np.arange(len(images))))]


@pytest.mark.parametrize("sigma, radius", [(0.7, 3), (1.0, 4), (2.0, 8), (5.0, 9)])
def test_the_coarse_is_a_gaussian_blur_and_the_fine_what_it_takes_away(sigma, radius):
    images = np.random.default_rng(0).random((3, 10, 13, 2), dtype="float32")
    coarse, fine = both(sigma, images)
    for row, image in enumerate(images.astype("float64")):
        expected = views_numpy.blurred(image, sigma, radius, "reflect")
        np.testing.assert_allclose(coarse[row], expected, atol=1e-6)
        np.testing.assert_allclose(fine[row], image - expected, atol=1e-6)
    np.testing.assert_allclose(coarse + fine, images, atol=1e-7)


def test_the_blur_is_that_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    images = np.random.default_rng(0).random((2, 16, 16, 1), dtype="float32")
    expected = ndimage.gaussian_filter(images, (0, 0.75, 0.75, 0), mode="mirror", radius=(0, 3, 3, 0))
    np.testing.assert_allclose(both(0.75, images)[0], expected, atol=1e-6)


def test_at_both_ends_one_view_is_empty():
    images = np.random.default_rng(0).random((2, 12, 12, 3), dtype="float32")
    assert np.abs(both(0.1, images)[1]).max() < 1e-6
    coarse, fine = both(100.0, images)
    assert coarse.std(axis=(1, 2)).max() < 0.1 * images.std() < 0.5 * fine.std()
    flat = np.full((2, 12, 12, 3), 0.3, "float32")
    np.testing.assert_allclose(both(1.0, flat)[1], 0, atol=1e-6)


def test_sigma_is_positive():
    for kind in (frequency.LowPass, frequency.HighPass):
        with pytest.raises(ValueError, match=f"{kind.__name__}: expected `sigma` > 0. Received: sigma=0."):
            kind(0)
