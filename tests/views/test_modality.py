import keras
import numpy as np
import pytest
from keras import ops

from zoo import context, engine, seeds
from zoo.views import color, geometry, jigsaw, modality, view

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
        (maps(), jigsaw.Jigsaw(grid=2, size=2), "one map, chosen by `modality.Modality` before this view"),
        ({"depth": maps()["depth"]}, geometry.Flip(), "an image among the maps"),
        ({**maps(), "depth": maps(side=5)["depth"]}, geometry.Flip(), "maps of one height and width"),
        ({**maps(), "depth": maps()["depth"] > 0.5}, geometry.Flip(), "depth: expected floating images"),
    ],
)
def test_mistakes_are_refused(given, chain, message):
    with pytest.raises(ValueError, match=message):
        view.Chain((chain,))(given, seed())
