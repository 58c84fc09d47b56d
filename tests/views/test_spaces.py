import numpy as np
import pytest
from keras import ops

from zoo import colors, seeds
from zoo.views import spaces


@pytest.mark.parametrize("space, channels", [("lab", (1, 2)), ("ydbdr", [2, 0]), ("hed", 1)])
def test_the_kept_channels_are_normalized(space, channels):
    images = np.random.default_rng(0).random((3, 4, 5, 3), dtype="float32")
    view = spaces.Channels(space, channels)
    found = ops.convert_to_numpy(view(images, seeds.Seed(0).fold(np.arange(3))))
    whole, about = ops.convert_to_numpy(colors.convert(images, space)), colors.SPACES[space]
    kept = [channels] if isinstance(channels, int) else list(channels)
    np.testing.assert_allclose(found, ((whole - about.mean) / about.std)[..., kept], atol=2e-6)
    assert hash(view) == hash(spaces.Channels(space, tuple(kept))) and view == spaces.Channels(space, tuple(kept))


@pytest.mark.parametrize(
    "space, channels, message",
    [
        ("labb", (0,), "Did you mean 'lab'"),
        ("lab", (), r"Channels: expected `channels` .* Received: channels=\(\)"),
        ("lab", (0, 0), "Channels: expected `channels`"),
        ("lab", (True,), "Channels: expected `channels`"),
        ("lab", (3,), "Channels: expected `channels`"),
        ("lab", "ab", "Channels: expected `channels`"),
    ],
)
def test_mistakes_are_refused_at_construction(space, channels, message):
    with pytest.raises(ValueError, match=message):
        spaces.Channels(space, channels)
