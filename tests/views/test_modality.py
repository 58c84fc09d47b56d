import numpy as np
import pytest
from keras import ops

from zoo import seeds
from zoo.views import geometry, modality, view

LAYOUT = (("image", 3), ("depth", 1), ("normals", 3))


def test_modalities_are_the_parts_of_the_channels():
    parts = [np.random.default_rng(i).random((4, 6, 6, count), dtype="float32") for i, count in enumerate((3, 1, 3))]
    fork = view.Fork(tuple(modality.Modality(name, LAYOUT) for name, _ in LAYOUT))
    images, seed = np.concatenate(parts, axis=-1), seeds.Seed(0).fold(np.arange(4))
    for ours, part in zip(fork(images, seed), parts, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), part)
    assert fork.output_shape(images.shape) == tuple(part.shape for part in parts)
    # What happens before happens to all modalities alike.
    chain = view.Chain((geometry.Crop(4), geometry.Flip(), fork))
    for ours, part in zip(chain(images, seed), parts, strict=True):
        alone = view.Chain((geometry.Crop(4), geometry.Flip(), geometry.Flip(0.0)))(part, seed)
        np.testing.assert_allclose(ops.convert_to_numpy(ours), ops.convert_to_numpy(alone), atol=1e-6)


def test_layouts_are_values():
    pairs = modality.Modality("depth", list(LAYOUT))
    assert pairs == modality.Modality("depth", LAYOUT) and hash(pairs) == hash(modality.Modality("depth", LAYOUT))
    assert eval(repr(pairs), {"Modality": modality.Modality}) == pairs


@pytest.mark.parametrize(
    "name, layout, message",
    [
        ("dept", LAYOUT, "Modality: expected `name` .*Received: name='dept'. Did you mean 'depth'"),
        ("depth", (), "Modality: expected `layout`"),
        ("depth", {"depth": 1}, "Modality: expected `layout`"),
        ("depth", (("depth", 0),), "Modality: expected `layout`"),
        ("depth", (("depth", 1.0),), "Modality: expected `layout`"),
        ("depth", ("depth", 1), "Modality: expected `layout`"),
        ("depth", (("depth", 1), ("depth", 2)), "Modality: expected `layout`"),
        ("depth", 4, "Modality: expected `layout`"),
    ],
)
def test_mistakes_are_refused_at_construction(name, layout, message):
    with pytest.raises(ValueError, match=message):
        modality.Modality(name, layout)


def test_images_of_other_channels_are_refused():
    with pytest.raises(ValueError, match="Modality: expected images of the 7 channels .*Received: channels=3, layout="):
        modality.Modality("depth", LAYOUT)(np.zeros((1, 4, 4, 3), "float32"), seeds.Seed(0).fold(np.arange(1)))
