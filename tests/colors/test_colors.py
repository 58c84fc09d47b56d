import itertools

import keras
import numpy as np
import pytest
from keras import ops
from skimage import color

from zoo import colors

AFFINE = [name for name, space in colors.SPACES.items() if space.matrix is not None]
CORNERS = np.array(list(itertools.product((0.0, 1.0), repeat=3)))


def samples():
    """Returns corners of the cube, grays, colors of 8 bits, very dark ones, and arbitrary ones, `[P, 3]`."""
    rng = np.random.default_rng(0)
    grays = np.repeat(np.linspace(0, 1, 256)[:, None], 3, axis=1)
    some = rng.integers(0, 256, (4000, 3)) / 255, rng.integers(0, 5, (500, 3)) / 255, rng.random((4000, 3))
    return np.concatenate([CORNERS, grays, *some])


def compiled(function):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def gradients(function, x):
    """The gradient of the sum of `function(x)`."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: function(x).sum())(x))
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(function(x))
    return tape.gradient(total, x).numpy()


def converted(x, space, **more):
    return ops.convert_to_numpy(colors.convert(np.asarray(x, "float32"), space, **more))


@pytest.mark.parametrize("space", [name for name in colors.SPACES if name != "rgb"])
def test_colors_equal_those_of_scikit_image(space):
    x = samples().astype("float32")
    expected = getattr(color, f"rgb2{space}")(x.astype("float64"))
    np.testing.assert_allclose(converted(x, space), expected, atol=1e-4)
    fast = compiled(lambda x: colors.convert(x, space))(x.reshape(-1, 2, 3))
    np.testing.assert_allclose(ops.convert_to_numpy(fast).reshape(-1, 3), expected, atol=1e-4)


def test_rgb_stays_as_it_is():
    x = samples().astype("float32")
    np.testing.assert_array_equal(converted(x, "rgb"), x)
    np.testing.assert_array_equal(ops.convert_to_numpy(colors.normalized(x, "rgb")), x)


@pytest.mark.parametrize("first, second", itertools.permutations(AFFINE, 2))
def test_affine_spaces_are_maps_of_each_other(first, second):
    source, target = colors.SPACES[first], colors.SPACES[second]
    change = np.array(target.matrix) @ np.linalg.inv(source.matrix)
    there = (converted(samples(), first) - np.array(source.offset)) @ change.T + np.array(target.offset)
    scale = np.abs(target.matrix).max()
    np.testing.assert_allclose(there / scale, converted(samples(), second) / scale, atol=1e-5)
    # The luma of the first depends on the luma of the second alone, and chroma on chroma.
    change = change * np.abs(source.matrix).max(axis=1) / np.abs(target.matrix).max(axis=1)[:, None]
    np.testing.assert_allclose([*change[0, 1:], *change[1:, 0]], 0, atol=2e-3)
    assert abs(change[0, 0]) > 0.9 and abs(np.linalg.det(change[1:, 1:])) > 0.5


@pytest.mark.parametrize("space", colors.SPACES)
def test_normalized_colors_fill_the_range(space):
    grid = np.linspace(0, 1, 33)
    x = np.stack(np.meshgrid(grid, grid, grid), axis=-1).reshape(-1, 3).astype("float32")
    found = ops.convert_to_numpy(colors.normalized(x, space))
    about = colors.SPACES[space]
    np.testing.assert_allclose(found, (converted(x, space) - about.mean) / about.std, atol=2e-6)
    if space in ("rgb", "ycbcr", "ydbdr"):
        return  # not their midpoints
    # Hue never reaches the full circle.
    np.testing.assert_allclose(found.max(axis=0), (1 - 2 / 32 / 6 if space == "hsv" else 1, 1, 1), atol=1e-3)
    np.testing.assert_allclose(found.min(axis=0), -1, atol=1e-3)


def test_published_normalizations():
    assert colors.SPACES["lab"].mean == (50, 6.025, -6.6895) and colors.SPACES["lab"].std == (50, 92.208, 101.1675)
    cmc = colors.SPACES["ycbcr"]
    assert cmc.mean == (116.151, 121.080, 132.342) and cmc.std == (109.5, 111.855, 111.964)
    pycontrast = colors.SPACES["ydbdr"]
    assert pycontrast.mean == (0.457, -0.082, -0.052) and pycontrast.std == (0.5, 1.331, 1.333)


@pytest.mark.parametrize("space", colors.SPACES)
def test_gradients_are_finite_at_every_color(space):
    x = np.concatenate([samples(), CORNERS * 1e-4, CORNERS * 1e-8]).astype("float32")
    slopes = gradients(lambda x: colors.normalized(x, space), x)
    assert slopes.shape == x.shape and np.isfinite(slopes).all()
    assert np.abs(slopes).max() > 0.1


@pytest.mark.parametrize("space", ["hsv", "lab", "luv", "xyz", "hed"])
def test_gradients_are_slopes(space):
    # Bright colors that are far from every kink.
    x = np.array([[0.9, 0.5, 0.2], [0.3, 0.7, 0.5], [0.25, 0.4, 0.8]])
    slopes = gradients(lambda x: ops.sum(colors.convert(x, space), axis=-1), x.astype("float32"))

    def total(x):
        return getattr(color, f"rgb2{space}")(x).sum(axis=-1)

    steps = 1e-5 * np.eye(3)
    expected = np.stack([(total(x + step) - total(x - step)) / 2e-5 for step in steps], axis=-1)
    np.testing.assert_allclose(slopes, expected, rtol=1e-3, atol=1e-3)


def test_channels_are_kept_in_their_order():
    x = samples().astype("float32").reshape(2, -1, 3)
    whole = ops.convert_to_numpy(colors.normalized(x, "lab"))
    np.testing.assert_array_equal(ops.convert_to_numpy(colors.normalized(x, "lab", (2, 0))), whole[..., [2, 0]])


@pytest.mark.parametrize("axis", [-1, 1])
def test_luma_is_the_first_channel_of_yuv(axis):
    x = samples().astype("float32")[:, None, None]  # [P, 1, 1, 3]
    found = ops.convert_to_numpy(colors.luma(ops.convert_to_tensor(np.moveaxis(x, -1, axis)), axis))
    np.testing.assert_allclose(np.moveaxis(found, axis, -1), converted(x, "yuv")[..., :1], atol=1e-6)
    assert colors.luma(np.array([1, 2, 3]), weights=(299, 587, 114)).tolist() == [299 + 2 * 587 + 3 * 114]


@pytest.mark.parametrize(
    "images, space, message",
    [
        (np.zeros((2, 3), "float32"), "labb", "expected `space` to be one of 'rgb', .*Did you mean 'lab'"),
        (np.zeros((2, 3), "float32"), "YCbCr", "Received: space='YCbCr'. Did you mean 'ycbcr'"),
        (np.zeros((2, 4), "float32"), "lab", r"expected images \[..., 3\] .*Received: shape=\(2, 4\)\."),
        (np.zeros((), "float32"), "lab", r"expected images \[..., 3\] .*Received: shape=\(\)\."),
        (np.zeros((2, 3), "uint8"), "lab", "expected floating images in .*Received: dtype='uint8'."),
    ],
)
def test_refuses(images, space, message):
    with pytest.raises(ValueError, match=message):
        colors.convert(images, space)
