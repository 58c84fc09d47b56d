import dataclasses

import keras
import numpy as np
import pytest
from keras import ops
from reference.view_engines import compiled, image_by_image, traced

from zoo import seeds
from zoo.views import blur, color, frequency, geometry, jigsaw, patches, spaces, view


def images_of(batch, channels=3, size=16):
    return np.random.default_rng(1).random((batch, size, size + 3, channels), dtype="float32")


def seed_of(count):
    return seeds.Seed(3).fold(1).fold(np.arange(count))


def arrays(views):
    return [ops.convert_to_numpy(array) for array in views]


def made(views, images, ids, *folds):
    """What is made, as a list of arrays; JAX without its compiler would compile every single operation."""

    def make(batch, numbers):
        seed = seeds.Seed(3).fold(1).fold(numbers)
        for fold in folds:
            seed = seed.fold(fold)
        return views(batch, seed)

    results = (compiled(make) if keras.backend.backend() == "jax" else make)(images, np.asarray(ids, "int32"))
    return arrays(results if isinstance(results, tuple) else (results,))


FORK = view.Fork((spaces.Channels("lab", (0,)), spaces.Channels("lab", (1, 2))))
MANY = view.Fork((geometry.Flip(), view.Chain((geometry.CenterCrop(4), geometry.Flip())), patches.Pair(5, 2)))


def test_branches_begin_from_the_same_image():
    steps, images = (geometry.Flip(), geometry.CenterCrop(8)), images_of(5)
    lightness, color_channels = made(view.Chain((*steps, FORK)), images, range(5))
    (whole,) = made(view.Chain((*steps, spaces.Channels("lab", (0, 1, 2)))), images, range(5))
    np.testing.assert_allclose(np.concatenate([lightness, color_channels], axis=-1), whole, atol=1e-5)


def test_each_branch_draws_from_its_own_fold():
    images = images_of(6)
    together, alone = made(MANY, images, range(6)), []
    for number, branch in enumerate(MANY.branches):
        alone += made(branch, images, range(6), number)
    for array, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(array, other, atol=1e-6)


@pytest.mark.parametrize("alike", [True, False])
def test_views_are_flat_in_the_order_of_their_chains(alike):
    chain = view.Chain((geometry.Flip(), MANY))
    last = chain if alike else view.Chain((view.Sometimes(color.Grayscale(), 0.5), FORK))
    images = images_of(4)
    together = made(view.Views((chain, last)), images, range(4))
    apart = [*made(chain, images, range(4), 0), *made(last, images, range(4), 1)]
    assert len(together) == len(apart) == (8 if alike else 6)
    for array, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(array, other, atol=1e-5)


def test_output_shapes_are_those_of_the_views():
    images, shape = images_of(2), (16, 19, 3)
    for change in (spaces.Channels("yuv", (2, 0)), jigsaw.Jigsaw(2, 5), frequency.HighPass()):
        assert [change.output_shape(shape)] == [result.shape[1:] for result in made(change, images, range(2))]
    for many in (MANY, view.Chain((geometry.CenterCrop(9), view.Fork((MANY, FORK)))), patches.Pair(3, 9)):
        assert many.several and many.final
        assert [*many.output_shape(shape)] == [result.shape[1:] for result in made(many, images, range(2))]


@pytest.mark.parametrize(
    "engine", [traced, *(pytest.param(each, marks=pytest.mark.slow) for each in (compiled, image_by_image))]
)
def test_graphs_and_compilers_agree_with_eager(engine):
    parts = (spaces.Channels("hsv", (0, 2)), patches.Pair(5, 2), jigsaw.Jigsaw(3, 3), frequency.HighPass())
    views = view.Views((view.Chain((geometry.Flip(), view.Fork(parts))),) * 2)
    images, ids = images_of(4), np.arange(4, dtype="int32")
    eager = made(views, images, ids) if engine is traced else arrays(views(images, seed_of(4)))
    assert [array.shape[-1] for array in eager] == [2, 3, 3, 3, 3] * 2 and eager[3].shape == (4, 9, 3, 3, 3)
    graph = engine(lambda batch, numbers: views(batch, seeds.Seed(3).fold(1).fold(numbers)))(images, ids)
    for array, other in zip(eager, arrays(graph), strict=True):
        np.testing.assert_allclose(other, array, atol=2e-5)


def test_a_view_depends_on_its_own_seed_alone():
    views, images = view.Views((view.Chain((geometry.Flip(), MANY)), jigsaw.Jigsaw(2, 4))), images_of(6)
    for array, other in zip(made(views, images, range(6)), made(views, images[2:3], [2]), strict=True):
        np.testing.assert_allclose(other, array[2:3], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_any_number_of_channels_passes(channels):
    chain = view.Chain((geometry.Flip(), blur.Blur(kernel_size=3), color.Solarize(0.9), jigsaw.Jigsaw(2, 3)))
    images = images_of(2, channels)
    (puzzle,) = made(chain, images, range(2))
    assert puzzle.shape == (2, 4, 3, 3, channels)
    (last,) = made(chain, images[..., -1:], range(2))
    np.testing.assert_allclose(puzzle[..., -1:], last, atol=1e-6)


@pytest.mark.parametrize("change", [color.Jitter(), color.Grayscale(), spaces.Channels("hsv", (0,))])
def test_colors_need_colors(change):
    with pytest.raises(ValueError, match=f"{type(change).__name__}: expected images .* Received: channels=2."):
        change(images_of(2, 2), seed_of(2))


@dataclasses.dataclass(frozen=True)
class Twice(view.View):
    several = True

    def apply(self, images, drawn):
        return images, images


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: view.Fork(()), r"Fork: expected `branches` .* Received: branches=\(\)\."),
        (lambda: view.Fork((FORK, spaces.Channels)), "Fork: expected `branches` .*not of classes"),
        (lambda: view.Chain((FORK, geometry.Flip())), r"Chain: expected only its last step .* Received: step=Fork\("),
        (lambda: view.Chain((view.Chain((FORK,)), geometry.Flip())), "Chain: expected only its last step"),
        (lambda: view.Chain((frequency.HighPass(), geometry.Flip())), "Chain: expected only its last step"),
        (lambda: view.Chain((view.Sometimes(frequency.HighPass(), 0.5), geometry.Flip())), "only its last step"),
        (lambda: view.Chain((view.OneOf((spaces.Channels("lab", 0),)), geometry.Flip())), "only its last step"),
        (lambda: view.Sometimes(Twice(), 0.5), r"Sometimes: expected `view` to make one view .* Received: view=Twice"),
        (lambda: view.OneOf((geometry.Flip(), FORK)), "OneOf: expected `views` to make one view of an image"),
        (lambda: view.OneOf((view.Chain((FORK,)),)), "OneOf: expected `views` to make one view of an image"),
    ],
)
def test_mistakes_are_refused_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make()
