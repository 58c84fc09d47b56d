"""The sizes of images that an encoder takes."""

import keras
import pytest

from zoo.methods import jigsaw, networks
from zoo.models import convnet, encoder, heads, joined, mlp, resnet


def small(image_shape=(None, None, 3), widths=(4, 6, 8), **arguments):
    return convnet.convnet(image_shape, widths, **arguments)


def head(features):
    return heads.projector(features, widths=(5, 4))


def test_smallest_sizes():
    assert small().smallest_size == 4
    assert mlp.mlp((8, 8, 1), (4,)).smallest_size == 1
    tiny = {"image_shape": (None, None, 3), "width": 0.0625}
    assert [resnet.resnet18(stem=stem, **tiny).smallest_size for stem in ("imagenet", "small")] == [32, 8]
    assert heads.kept(small(), head(8)).smallest_size == 4
    assert joined.join([small(), small(widths=(4, 6), name="other")]).smallest_size == 4


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (small, (3, 8, 3), "at least 4 x 4 pixels for the encoder 'convnet'. Received: shape=\\(3, 8, 3\\)"),
        (small, (8, 8, 1), "shape \\(None, None, 3\\) for the encoder 'convnet'. Received: shape=\\(8, 8, 1\\)"),
        (small, (9, 8, 8, 3), ".* 'convnet'. Received: shape=\\(9, 8, 8, 3\\)"),
        (mlp.mlp, (9, 8, 1), "shape \\(8, 8, 1\\) for the encoder 'mlp'"),
    ],
)
def test_other_images_are_refused(make, shape, message):
    network = make()
    assert not encoder.takes(network, shape)
    with pytest.raises(ValueError, match=f"Who: expected images of {message}"):
        encoder.check_size("Who", network, shape)


def test_images_of_every_other_size_are_taken():
    assert encoder.takes(small(), (4, 9, 3)) and encoder.takes(mlp.mlp(), (8, 8, 1))
    assert encoder.takes(keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(2, 1)]), (1, 1, 1))


def test_methods_refuse_views_that_are_too_small():
    with pytest.raises(ValueError, match="Embedder: expected images of at least 4 x 4 pixels"):
        networks.Embedder(small, head, (3, 3, 3))
    embedder = networks.Embedder(small, head, (8, 8, 3))
    with pytest.raises(ValueError, match="PatchEmbedder: expected images of at least 4 x 4 pixels"):
        jigsaw.PatchEmbedder(embedder, heads.jigsaw, (9, 3, 3, 3))
