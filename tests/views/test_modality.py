import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from zoo import context, engine, seeds
from zoo.views import color, geometry, jigsaw, modality, patches, randaugment, spaces, view

CHANNELS = {"image": 3, "depth": 1, "normals": 3}
FORK = view.Fork(tuple(modality.Modality(name) for name in CHANNELS))


def maps(batch=4, side=6):
    random = np.random.default_rng(0)
    return {name: random.random((batch, side, side, count), dtype="float32") for name, count in CHANNELS.items()}


def seed(batch=4):
    return seeds.Seed(0).fold(np.arange(batch))


def arrays(nest):
    return keras.tree.map_structure(ops.convert_to_numpy, nest)


def test_a_modality_is_the_map_of_its_name():
    given = maps()
    for found, name in zip(arrays(FORK(given, seed())), CHANNELS, strict=True):
        np.testing.assert_array_equal(found, given[name])


@pytest.mark.parametrize("single", [False, True])
def test_geometric_views_treat_all_maps_as_channels_of_one_image(single):
    chain = view.Chain((geometry.Crop(4), geometry.Flip(), view.Sometimes(geometry.Flip(), 0.5)))
    given = maps()
    glued = np.concatenate(list(given.values()), axis=-1)
    with context.using(image_by_image=single):
        made = engine.current().compiled(lambda images: chain(images, seed()))
        found, expected = arrays(made(given)), arrays(made(glued))
    np.testing.assert_allclose(np.concatenate([found[name] for name in CHANNELS], axis=-1), expected, atol=1e-6)


def test_other_views_change_the_image_alone():
    given = maps()
    chain = view.Chain((view.OneOf((color.Grayscale(), color.Solarize())), view.Sometimes(color.Jitter(), 0.5)))
    found = arrays(chain(given, seed()))
    for name in ("depth", "normals"):
        np.testing.assert_array_equal(found[name], given[name])
    np.testing.assert_array_equal(found["image"], arrays(chain(given["image"], seed())))


@dataclasses.dataclass(frozen=True)
class Negatives(view.View):
    """Two views, the image and its negative."""

    several = True

    def apply(self, images, drawn):
        return images, 1 - images

    def output_shape(self, shape):
        return shape, shape


def test_several_views_of_the_image_alone_keep_the_other_maps():
    given = maps()
    for found, image in zip(Negatives()(given, seed()), (given["image"], 1 - given["image"]), strict=True):
        np.testing.assert_array_equal(found["image"], image)
        for name in ("depth", "normals"):
            np.testing.assert_array_equal(found[name], given[name])


@pytest.mark.parametrize("last", [jigsaw.Jigsaw(2, 2), patches.Pair(3, 2)])
def test_patches_are_cut_from_all_maps_at_the_same_places(last):
    given = maps()
    glued = last(np.concatenate(list(given.values()), axis=-1), seed())
    found = last(given, seed())
    pairs = zip(found, glued, strict=True) if last.several else [(found, glued)]
    for parts, whole in pairs:
        whole, parts = arrays(whole), arrays(parts)
        np.testing.assert_array_equal(np.concatenate([parts[name] for name in CHANNELS], axis=-1), whole)
    shapes = last.output_shape((6, 6, 7))
    assert shapes == ((3, 3, 7), (3, 3, 7)) if last.several else (4, 2, 2, 7)


def test_views_take_the_image_of_several_maps():
    given = maps()
    steps = (geometry.Crop(5), geometry.Flip())
    fork = view.Fork((spaces.Channels("lab", (0,)), color.Solarize(), modality.Modality("depth")))
    chains = tuple(view.Chain((*steps, last)) for last in (jigsaw.Jigsaw(2, 2), patches.Pair(3, 1), fork))
    found = arrays(view.Views(chains)(given, seed()))
    images = view.Views((*chains[:2], view.Chain((*steps, view.Fork(fork.branches[:2])))))(given["image"], seed())
    for made, expected in zip(found[:-1], arrays(images), strict=True):
        np.testing.assert_allclose(made, expected, atol=1e-6)
    assert view.Views(chains).output_shapes({name: values.shape[1:] for name, values in given.items()}) == tuple(
        made.shape[1:] for made in found
    )


@pytest.mark.slow
@pytest.mark.parametrize("single", [False, True])
def test_randaugment_warps_all_maps_and_changes_the_levels_of_the_image_alone(single):
    given = {"image": maps(40, 9)["image"]}
    given["copy"], given["depth"] = given["image"], given["image"][..., :1]
    warps = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
    augment = randaugment.RandAugment(operations=("Invert", *warps), probability=0.8, fill=(0, 0, 0))
    with context.using(image_by_image=single):
        made = arrays(engine.current().compiled(lambda images: augment(images, seed(40)))(given))
    np.testing.assert_allclose(made["depth"], made["copy"][..., :1], atol=1e-6)
    drawn = arrays(augment.draw(seed(40), (9, 9, 3)))
    is_inverted = ((drawn["operation"] == 0) & drawn["applied"]).any(axis=1)
    assert 5 < is_inverted.sum() < 35
    np.testing.assert_allclose(made["image"][~is_inverted], made["copy"][~is_inverted], atol=1e-6)
    assert (np.abs(made["image"] - made["copy"]).max(axis=(1, 2, 3)) > 0.01)[is_inverted].mean() > 0.8
    only = ((drawn["operation"] == 0) | ~drawn["applied"]).all(axis=1)
    np.testing.assert_allclose(made["copy"][only], given["copy"][only], atol=1e-6)


def test_views_of_maps_are_images_of_known_shapes():
    crop = geometry.Crop(4)
    views = view.Views((view.Chain((crop, FORK)), view.Chain((crop, color.Grayscale())), view.Chain((FORK,))))
    shapes = views.output_shapes({name: (6, 6, count) for name, count in CHANNELS.items()})
    assert shapes == ((4, 4, 3), (4, 4, 1), (4, 4, 3), (4, 4, 3), (6, 6, 3), (6, 6, 1), (6, 6, 3))
    assert tuple(tuple(made.shape[1:]) for made in views(maps(), seed())) == shapes


def test_data_of_one_image_have_no_other_modality():
    image = maps()["image"]
    np.testing.assert_array_equal(arrays(modality.Modality("image")(image, seed())), image)
    with pytest.raises(ValueError, match="Modality: expected `name` .*Received: name='depth'"):
        modality.Modality("depth")(image, seed())


@pytest.mark.parametrize(
    ("given", "chain", "message"),
    [
        (maps(), modality.Modality("dept"), "Received: name='dept'. Did you mean 'depth'"),
        ({}, geometry.Flip(), "at least one map"),
        (
            {"depth": maps()["depth"]},
            color.Grayscale(),
            r"Grayscale: expected maps with the key 'image'. Received: keys=",
        ),
        ({**maps(), "depth": maps(side=5)["depth"]}, geometry.Flip(), "maps of one height and width"),
        ({**maps(), "depth": maps()["depth"] > 0.5}, geometry.Flip(), "depth: expected floating images"),
    ],
)
def test_mistakes_are_refused(given, chain, message):
    with pytest.raises(ValueError, match=message):
        view.Chain((chain,))(given, seed())


def test_a_name_is_needed():
    with pytest.raises(ValueError, match="Modality: expected `name` to be the key of a map. Received: name=''"):
        modality.Modality("")


def test_views_that_make_no_array_are_refused():
    with pytest.raises(ValueError, match="Views: expected maps with the key 'image'"):
        view.Views((geometry.Flip(),))({"depth": maps()["depth"]}, seed())
