import numpy as np
import pytest
from keras import ops

from zoo import seeds
from zoo.views import patches


def numbered(batch, height, width, channels=2):
    """Images whose every pixel has a value of its own."""
    count = batch * height * width * channels
    return (np.arange(count, dtype="float32") / count).reshape(batch, height, width, channels)


def test_patches_are_cut_where_they_were_drawn():
    pair, images, seed = patches.Pair(4, 3), numbered(30, 9, 12), seeds.Seed(1).fold(np.arange(30))
    corners = ops.convert_to_numpy(pair.draw(seed, images.shape[1:])["corners"])
    np.testing.assert_array_equal(corners[:, 1] - corners[:, 0], 3)
    first, second = (ops.convert_to_numpy(array) for array in pair(images, seed))
    for i, ((top, left), _) in enumerate(corners):
        np.testing.assert_array_equal(first[i], images[i, top : top + 4, left : left + 4])
        np.testing.assert_array_equal(second[i], images[i, top + 3 : top + 7, left + 3 : left + 7])


def test_places_are_uniform_where_both_patches_fit():
    seed = seeds.Seed(1).fold(np.arange(6000))
    corners = ops.convert_to_numpy(patches.Pair(4, 3).draw(seed, (9, 10, 3))["corners"])[:, 0]
    places, counts = np.unique(corners, axis=0, return_counts=True)
    assert places.tolist() == [[top, left] for top in range(3) for left in range(4)]
    assert np.abs(counts - 500).max() < 100


def test_patches_that_just_fit_have_one_place():
    pair, images = patches.Pair(4, 3), numbered(3, 7, 7)
    first, second = pair(images, seeds.Seed(1).fold(np.arange(3)))
    np.testing.assert_array_equal(ops.convert_to_numpy(first), images[:, :4, :4])
    np.testing.assert_array_equal(ops.convert_to_numpy(second), images[:, 3:, 3:])
    array, other = patches.Pair(7, 0)(images, seeds.Seed(1).fold(np.arange(3)))
    np.testing.assert_array_equal(ops.convert_to_numpy(array), ops.convert_to_numpy(other))


def test_patches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="Pair: expected images of at least .*size=4, distance=6, height=12, width=9"):
        patches.Pair(4, 6)(numbered(1, 12, 9), seeds.Seed(1).fold(np.arange(1)))


@pytest.mark.parametrize("size, distance, name", [(0, 1, "size"), (2.0, 1, "size"), (2, -1, "distance")])
def test_mistakes_are_refused_at_construction(size, distance, name):
    with pytest.raises(ValueError, match=f"Pair: expected `{name}`"):
        patches.Pair(size, distance)
