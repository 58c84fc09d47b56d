import math

import numpy as np
import pytest
from keras import ops

from zoo import seeds
from zoo.views import jigsaw


def numbered(batch, height, width, channels=1):
    """Images whose every pixel has a value of its own."""
    count = batch * height * width * channels
    return (np.arange(count, dtype="float32") / count).reshape(batch, height, width, channels)


def seed_of(count):
    return seeds.Seed(4).fold(np.arange(count))


@pytest.mark.parametrize("grid, size, height, width", [(3, 4, 20, 16), (2, 5, 12, 11), (1, 3, 4, 5)])
def test_patches_lie_where_they_were_drawn(grid, size, height, width):
    puzzle, images = jigsaw.Jigsaw(grid, size), numbered(6, height, width, 2)
    drawn = {name: ops.convert_to_numpy(value) for name, value in puzzle.draw(seed_of(6), images.shape[1:]).items()}
    found = ops.convert_to_numpy(puzzle(images, seed_of(6)))
    assert found.shape == (6, grid * grid, size, size, 2)
    for i, image in enumerate(images):
        for place, cell in enumerate(drawn["order"][i]):
            top = cell // grid * (height // grid) + drawn["offsets"][i, cell, 0]
            left = cell % grid * (width // grid) + drawn["offsets"][i, cell, 1]
            np.testing.assert_array_equal(found[i, place], image[top : top + size, left : left + size])


def test_every_cell_gives_one_patch():
    images = numbered(20, 12, 12)
    found = ops.convert_to_numpy(jigsaw.Jigsaw(3, 3)(images, seed_of(20)))
    pixel = np.round(found * images.size).astype(int) - 144 * np.arange(20)[:, None, None, None, None]
    rows, columns = pixel[:, :, 0, 0, 0] // 12, pixel[:, :, 0, 0, 0] % 12
    cells = rows // 4 * 3 + columns // 4  # [B, 9]
    np.testing.assert_array_equal(np.sort(cells, axis=1), np.tile(np.arange(9), (20, 1)))
    # No patch reaches into the next cell.
    np.testing.assert_array_equal(pixel[:, :, -1, -1, 0], pixel[:, :, 0, 0, 0] + 2 * 12 + 2)
    assert max((rows % 4).max(), (columns % 4).max()) == 1


def test_order_and_places_are_uniform():
    drawn = jigsaw.Jigsaw(2, 3).draw(seed_of(4800), (10, 8, 3))
    order, offsets = ops.convert_to_numpy(drawn["order"]), ops.convert_to_numpy(drawn["offsets"])
    orders, counts = np.unique(order, axis=0, return_counts=True)
    assert len(orders) == math.factorial(4) and np.abs(counts - 200).max() < 60
    for cell in range(4):
        places, counts = np.unique(offsets[:, cell], axis=0, return_counts=True)
        assert places.tolist() == [[top, left] for top in range(3) for left in range(2)]
        assert np.abs(counts - 800).max() < 120


def test_patches_in_order_make_the_image_again():
    images = numbered(2, 12, 12)
    found = ops.convert_to_numpy(jigsaw.Jigsaw(3, 4, shuffle=False)(images, seed_of(2)))
    whole = found.reshape(2, 3, 3, 4, 4, 1).transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)
    np.testing.assert_array_equal(whole, images)


def test_published_sizes_are_the_defaults():
    offsets = jigsaw.Jigsaw().draw(seed_of(400), (255, 255, 3))["offsets"]
    assert jigsaw.Jigsaw().output_shape((255, 255, 3)) == (9, 64, 64, 3)
    assert np.unique(ops.convert_to_numpy(offsets)).tolist() == list(range(22))


def test_patches_larger_than_their_cells_are_refused():
    with pytest.raises(ValueError, match=r"Jigsaw: expected cells .* Received: size=64, cell=\(74, 42\)\."):
        jigsaw.Jigsaw()(numbered(1, 224, 128), seed_of(1))


@pytest.mark.parametrize("grid, size, name", [(0, 4, "grid"), (3, 0, "size"), (3, 2.5, "size")])
def test_mistakes_are_refused_at_construction(grid, size, name):
    with pytest.raises(ValueError, match=f"Jigsaw: expected `{name}`"):
        jigsaw.Jigsaw(grid, size)
