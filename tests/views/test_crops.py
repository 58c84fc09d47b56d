"""Crops of several sizes: equal chains run as one batch, and the views are those of the chains by themselves."""

import dataclasses

import numpy as np
import pytest
from keras import ops

from zoo import engine, seeds
from zoo.views import color, geometry, view

TRACED = []
compiled = engine.current().compiled  # JAX would compile every operation by itself


@dataclasses.dataclass(frozen=True)
class Traced(view.View):
    """Keeps the images, and notes for how many of them it was applied."""

    def apply(self, images, drawn):
        TRACED.append(tuple(images.shape))
        return images


def chain(size):
    return view.Chain((geometry.Crop(size), geometry.Flip(), view.Sometimes(color.Grayscale(), 0.5), Traced()))


@pytest.mark.slow
def test_equal_chains_run_as_one_batch_group_by_group():
    large, small = chain(8), chain(4)
    views = view.Views((large, small, large, small, small, small, small, small))
    images = np.random.default_rng(0).random((3, 12, 10, 3), dtype="float32")
    seed = seeds.Seed(5).fold(np.arange(3))
    TRACED.clear()
    found = [ops.convert_to_numpy(made) for made in compiled(lambda images: views(images, seed))(images)]
    assert TRACED == [(6, 8, 8, 3), (18, 4, 4, 3)]

    def one_after_another(images):
        return [part(images, seed.fold(number)) for number, part in enumerate(views.chains)]

    for made, alone in zip(found, compiled(one_after_another)(images), strict=True):
        np.testing.assert_allclose(made, ops.convert_to_numpy(alone), atol=1e-5)
    assert views.output_shapes((12, 10, 3)) == tuple(made.shape[1:] for made in found)


def test_chains_need_no_hash():
    crop = geometry.Crop(4, area=[0.5, 1.0])  # as gin reads brackets
    images = np.random.default_rng(0).random((2, 6, 6, 3), dtype="float32")
    views = view.Views((crop, geometry.Crop(4, area=[0.5, 1.0])))
    assert [tuple(made.shape) for made in views(images, seeds.Seed(5).fold(np.arange(2)))] == [(2, 4, 4, 3)] * 2


def test_a_crop_has_the_size_of_the_images_by_default():
    images = np.random.default_rng(0).random((3, 12, 10, 3), dtype="float32")
    seed = seeds.Seed(5).fold(np.arange(3))
    for kind in (geometry.Crop, geometry.CenterCrop):
        for antialias in (False, True):
            found, expected = (
                ops.convert_to_numpy(kind(size, antialias=antialias)(images, seed)) for size in (None, (12, 10))
            )
            np.testing.assert_array_equal(found, expected)
            assert kind(antialias=antialias).output_shape((7, 9, 3)) == (7, 9, 3)
