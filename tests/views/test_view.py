import dataclasses

import keras
import numpy as np
import pytest
from keras import ops
from reference.view_engines import compiled, image_by_image, traced

from zoo import seeds
from zoo.views import blur, color, geometry, view


def simclr(size, **jitter):
    steps = (
        geometry.Crop(size, interpolation="bicubic"),
        geometry.Flip(),
        view.Sometimes(color.Jitter(**jitter), 0.8),
        view.Sometimes(color.Grayscale(), 0.2),
        view.Sometimes(blur.Blur(kernel_size=3), 0.5),
        view.OneOf((color.Solarize(), color.Solarize(0.9), blur.Blur(padding="reflect")), (0.2, 0.3, 0.5)),
    )
    return view.Views((view.Chain(steps), view.Chain(steps[:4])))


def images_of(batch, channels, size=16, seed=0):
    return np.random.default_rng(seed).random((batch, size, size + 3, channels), dtype="float32")


def seed_of(ids):
    return seeds.Seed(3).fold(1).fold(np.asarray(ids))


def arrays(pair):
    return [ops.convert_to_numpy(array) for array in pair]


def made(views, images, ids):
    """The views as arrays; JAX without its compiler would compile every single operation."""

    def make(batch, numbers):
        return views(batch, seeds.Seed(3).fold(1).fold(numbers))

    return arrays((compiled(make) if keras.backend.backend() == "jax" else make)(images, np.asarray(ids, "int32")))


@pytest.mark.parametrize("channels, recipe", [(1, "torchvision"), (3, "simclr")])
def test_a_view_depends_on_its_own_seed_alone(channels, recipe):
    views, images, ids = simclr(8, recipe=recipe), images_of(7, channels), np.arange(7)
    together = made(views, images, ids)
    assert [array.shape for array in together] == [(7, 8, 8, channels)] * 2
    assert all(array.min() >= 0 and array.max() <= 1 and array.dtype == "float32" for array in together)
    order = np.array([4, 2, 6, 0, 1, 5, 3])
    for array, permuted in zip(together, made(views, images[order], ids[order]), strict=True):
        np.testing.assert_allclose(permuted, array[order], atol=1e-6)
    for array, alone in zip(together, made(views, images[4:5], [4]), strict=True):
        np.testing.assert_allclose(alone, array[4:5], atol=1e-6)


def test_images_and_chains_are_drawn_independently():
    images = np.repeat(images_of(1, 3), 6, axis=0)
    first, second = made(simclr(8), images, np.arange(6))
    flat = np.concatenate([first, second]).reshape(12, -1)
    apart = np.abs(flat[:, None] - flat[None]).max(axis=-1) + np.eye(12)
    assert apart.min() > 1e-3


@pytest.mark.parametrize(
    "engine", [traced, *(pytest.param(each, marks=pytest.mark.slow) for each in (compiled, image_by_image))]
)
def test_graphs_and_compilers_agree_with_eager(engine):
    views, images, ids = view.Views(simclr(8).chains[:1]), images_of(5, 3), np.arange(5, dtype="int32")
    eager = arrays(views(images, seed_of(ids)))
    graph = engine(lambda batch, numbers: views(batch, seeds.Seed(3).fold(1).fold(numbers)))(images, ids)
    for array, other in zip(eager, arrays(graph), strict=True):
        # Compilers may fuse a multiplication with an addition, and hue and crop amplify the last bit.
        np.testing.assert_allclose(other, array, atol=2e-5)


def test_draws_nest_as_the_views_do():
    views = simclr(8)
    drawn = views.draw(seed_of(np.arange(4)), (16, 19, 3))
    crop, flip, jitter, _, _, one_of = drawn["chains"][0]["steps"]
    assert ops.shape(crop["box"]) == (4, 4) and ops.shape(flip["flipped"]) == (4,)
    assert ops.shape(jitter["view"]["order"]) == (4, 4) and len(one_of["views"]) == 3
    images = images_of(4, 3)
    for array, other in zip(
        arrays(views.apply(ops.convert_to_tensor(images), drawn)),
        arrays(views(images, seed_of(np.arange(4)))),
        strict=True,
    ):
        np.testing.assert_array_equal(array, other)


def test_equal_chains_run_as_one_give_what_each_gives_alone():
    chain, images, seed = simclr(8).chains[1], images_of(4, 3), seed_of(np.arange(4))
    together = arrays(view.Views((chain, chain, chain))(images, seed))
    for i, array in enumerate(together):
        np.testing.assert_allclose(ops.convert_to_numpy(chain(images, seed.fold(i))), array, atol=1e-6)


@dataclasses.dataclass(frozen=True)
class Constant(view.View):
    value: float

    def apply(self, images, drawn):
        return ops.zeros_like(images) + self.value


def test_probabilities_are_frequencies():
    images, seed = np.zeros((4000, 1, 1, 1), "float32"), seed_of(np.arange(4000))
    sometimes = ops.convert_to_numpy(view.Sometimes(Constant(1.0), 0.3)(images, seed))
    assert abs(sometimes.mean() - 0.3) < 0.03
    one_of = view.OneOf((Constant(0.0), Constant(0.5), Constant(1.0)), (0.2, 0.5, 0.3))
    kept = ops.convert_to_numpy(one_of(images, seed)).ravel()
    assert np.abs([np.mean(kept == value) - p for value, p in ((0, 0.2), (0.5, 0.5), (1, 0.3))]).max() < 0.03
    for probability in (0.0, 1.0):
        always = ops.convert_to_numpy(view.Sometimes(Constant(1.0), probability)(images, seed))
        np.testing.assert_array_equal(always, probability)


def test_the_repr_rebuilds_a_view():
    namespace = {c.__name__: c for m in (view, geometry, color, blur) for c in vars(m).values() if isinstance(c, type)}
    assert eval(repr(simclr(8)), namespace) == simclr(8)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: view.Chain(()), r"Chain: expected `steps` .* Received: steps=\(\)\."),
        (lambda: view.Chain((color.Grayscale,)), "Chain: expected `steps` .*not of classes"),
        (lambda: view.Views((3,)), r"Views: expected `chains` .* Received: chains=\(3,\)\."),
        (lambda: view.Sometimes(color.Grayscale(), 1.5), r"`probability` in \[0, 1\]. Received: probability=1.5\."),
        (lambda: view.OneOf((color.Grayscale(),), (0.5,)), "OneOf: expected 1 `probabilities`"),
        (lambda: geometry.Crop(0), "Crop: expected `size` .* Received: size=0"),
        (lambda: geometry.Crop(8, area=(0, 1)), r"Crop: expected `area` .* Received: area=\(0, 1\)\."),
        (lambda: geometry.Crop(8, aspect=(2, 1)), r"Crop: expected `aspect` .* Received: aspect=\(2, 1\)\."),
        (
            lambda: geometry.Crop(8, interpolation="bicubik"),
            "Received: interpolation='bicubik'. Did you mean 'bicubic'\\?",
        ),
        (lambda: geometry.CenterCrop(8, proportion=0), "CenterCrop: expected `proportion`"),
        (lambda: geometry.Flip(-1), "Flip: expected `probability`"),
        (lambda: color.Jitter(contrast=-1), "Jitter: expected `contrast` >= 0. Received: contrast=-1."),
        (lambda: color.Jitter(hue=0.4, strength=2), "Received: hue=0.4, strength=2."),
        (lambda: color.Jitter(recipe="simclrv1"), "Received: recipe='simclrv1'. Did you mean 'simclr_v1'\\?"),
        (lambda: color.Solarize(2), "Solarize: expected `threshold`"),
        (lambda: blur.Blur(sigma=(0, 1)), "Blur: expected `sigma`"),
        (lambda: blur.Blur(fraction=0), "Blur: expected `fraction`"),
        (lambda: blur.Blur(kernel_size=4), "Blur: expected `kernel_size`"),
        (lambda: blur.Blur(padding="reflekt"), "Did you mean 'reflect'\\?"),
    ],
)
def test_mistakes_are_refused_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "images, ids, message",
    [
        (np.zeros((2, 4, 4, 3), "uint8"), [0, 1], "Flip: expected floating images .* Received: dtype='uint8'."),
        (np.zeros((2, 4, 4), "float32"), [0, 1], r"Received: shape=\(2, 4, 4\)\."),
        (np.zeros((2, 4, 4, 0), "float32"), [0, 1], r"Received: shape=\(2, 4, 4, 0\)\."),
        (np.zeros((2, 4, 4, 3), "float32"), 0, "Flip: expected one seed per image"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images, ids, message):
    with pytest.raises(ValueError, match=message):
        geometry.Flip()(images, seed_of(ids))


def test_views_that_change_the_size_cannot_be_conditional():
    images, seed = np.zeros((2, 9, 9, 1), "float32"), seed_of([0, 1])
    with pytest.raises(ValueError, match="Sometimes: expected a view that keeps the size"):
        view.Sometimes(geometry.Crop(8), 0.5)(images, seed)
    with pytest.raises(ValueError, match="OneOf: expected views of one size"):
        view.OneOf((geometry.Crop(8), geometry.Crop(4)))(images, seed)
