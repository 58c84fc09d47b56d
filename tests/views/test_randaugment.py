import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops
from reference import randaugment_numpy

from zoo import context, seeds
from zoo.views import affine, randaugment

EVERY = ("Identity", *randaugment.STANDARD)
FILL = np.array([124, 116, 104])
INTEGER = ("Identity", "Equalize", "Invert", "PosterizeTpu", "Solarize", "SolarizeAdd")


def compiled(function):
    """`function` of arrays, compiled by the engine's compiler."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def quick(function):
    """JAX without its compiler would compile every single operation."""
    return compiled(function) if keras.backend.backend() == "jax" else function


def made(engine, view, images, ids):
    function = engine(lambda batch, numbers: view(batch, seeds.Seed(3).fold(numbers)))
    return ops.convert_to_numpy(function(images, np.asarray(ids, "int32")))


def fill_of(channels):
    return FILL if channels == 3 else np.array([round(float(FILL @ [0.299, 0.587, 0.114]))])


def pictures(count, channels, height=40, width=33, seed=0):
    """8-bit images of many kinds: noise, smooth shades, low contrast, few levels, one level."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, (count, height, width, channels))
    y, x = np.mgrid[:height, :width]
    smooth = 127 + 120 * np.sin(x / 5 + np.arange(count)[:, None, None]) * np.cos(y / 7)
    kinds = [noise, np.repeat(smooth[..., None], channels, axis=-1) + noise // 40, 90 + noise // 4, noise // 128 * 200]
    images = np.stack([kinds[i % 4][i] for i in range(count)])
    images[-1] = 77
    return np.clip(images, 0, 255).astype("uint8")


def applied(view, images, **drawn):
    """One operation per image: operation, magnitude, sign and interpolation are [B]."""
    row_drawn = {"applied": np.ones(len(images), bool), **drawn}
    row_drawn = {name: np.asarray(value)[:, None] for name, value in row_drawn.items()}
    return ops.convert_to_numpy(quick(view.apply)(ops.convert_to_tensor(images), row_drawn))


@functools.cache
def all_at_all_magnitudes(channels):
    """Every operation at several magnitudes, with both signs and interpolations: what it is, image, result."""
    cases = list(itertools.product(range(16), (0.0, 3.3, 5.0, 9.7, 10.0), (1.0, -1.0), (0, 1)))
    operation, magnitude, sign, interpolation = (np.array(column) for column in zip(*cases, strict=True))
    images = pictures(len(cases), channels)
    images = images[np.random.default_rng(1).permutation(len(cases))]
    view = randaugment.RandAugment(count=1, operations=EVERY, fill=tuple(FILL / 255))
    found = applied(
        view,
        images.astype("float32") / 255,
        operation=operation.astype("int32"),
        magnitude=magnitude.astype("float32"),
        sign=sign.astype("float32"),
        interpolation=interpolation.astype("int32"),
    )
    return cases, images, found


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_are_those_of_pil(channels):
    cases, images, found = all_at_all_magnitudes(channels)
    for (number, magnitude, sign, interpolation), image, result in zip(cases, images, found, strict=True):
        name, fill = EVERY[number], fill_of(channels)
        how = affine.INTERPOLATIONS[interpolation]
        reference = randaugment_numpy.by_pil(image, name, magnitude, sign, how, tuple(int(part) for part in fill))
        error, said = 255 * result - reference, f"{name} {magnitude} {sign} {how}"
        if name in INTEGER:
            np.testing.assert_allclose(error, 0, atol=1e-4, err_msg=said)
        elif name == "AutoContrast":
            # Where the quotient is whole, PIL's double precision may fall just below it, and misses it by one.
            least, most = (edge(image.astype(int), axis=(0, 1)) for edge in (np.min, np.max))
            whole = (image - least) * 255 % np.maximum(most - least, 1) == 0
            np.testing.assert_allclose(error[~whole], 0, atol=1e-4, err_msg=said)
            np.testing.assert_allclose(error[whole], np.rint(error[whole]), atol=1e-4, err_msg=said)
            assert error.min() > -0.5 and error.max() < 1.5, said
        else:
            # PIL cuts off the fraction; a gray fill is rounded here for PIL.
            assert error.min() > -0.5 and error.max() < 1.01, (said, error.min(), error.max())


@pytest.mark.parametrize("channels", [1, 3])
def test_whole_chain_is_the_transcribed_one(channels):
    view = randaugment.RandAugment(count=2, magnitude=8.0, magnitude_std=2.0, probability=0.7, operations=EVERY)
    images = np.random.default_rng(4).random((40, 10, 13, channels), dtype="float32")
    images[::2] = 0.3 + 0.2 * images[::2]
    drawn = view.draw(seeds.Seed(9).fold(np.arange(40)), images.shape[1:])
    found = ops.convert_to_numpy(quick(view.apply)(ops.convert_to_tensor(images), drawn))
    numbers = {name: ops.convert_to_numpy(value) for name, value in drawn.items()}
    fill = FILL / 255 if channels == 3 else [FILL @ [0.299, 0.587, 0.114] / 255]
    for row, image in enumerate(images.astype("float64")):
        done = []
        for turn in range(2):
            row_drawn = {name: value[row, turn] for name, value in numbers.items()}
            if row_drawn["applied"]:
                name, how = EVERY[row_drawn["operation"]], affine.INTERPOLATIONS[row_drawn["interpolation"]]
                image = randaugment_numpy.operated(image, name, row_drawn["magnitude"], row_drawn["sign"], how, fill)
                done.append(name)
        np.testing.assert_allclose(found[row], image, atol=2e-5, err_msg=str(done))


def test_draws_have_their_frequencies():
    view, batch = randaugment.RandAugment(probability=0.3), 6000
    drawn = view.draw(seeds.Seed(5).fold(np.arange(batch)), (8, 8, 3))
    numbers = {name: ops.convert_to_numpy(value) for name, value in drawn.items()}
    assert {value.shape for value in numbers.values()} == {(batch, 2)}
    pairs = np.bincount(15 * numbers["operation"][:, 0] + numbers["operation"][:, 1], minlength=225)
    assert len(pairs) == 225 and np.sum((pairs - batch / 225) ** 2) / (batch / 225) < 300  # chi squared: 224 +- 21
    for name, expected in (("applied", 0.3), ("interpolation", 0.5)):
        assert np.abs(numbers[name].mean(axis=0) - expected).max() < 0.03
    assert set(np.unique(numbers["sign"])) == {-1.0, 1.0} and abs(numbers["sign"].mean()) < 0.04
    magnitude = numbers["magnitude"]
    assert magnitude.max() == 10 and abs(np.mean(magnitude == 10) - 0.5) < 0.03
    below = 10 - magnitude[magnitude < 10]
    assert abs(np.mean(below) - 0.5 * np.sqrt(2 / np.pi)) < 0.015 and abs(np.mean(below**2) - 0.25) < 0.02
    assert abs(np.mean(below > 2 * 0.5) - 0.0455) < 0.01
    between = np.corrcoef(np.concatenate([value.T.astype("float64") for value in numbers.values()]))
    assert np.abs(between - np.eye(len(between))).max() < 0.06


def test_a_magnitude_may_be_fixed_and_stays_in_range():
    ids, shape = seeds.Seed(5).fold(np.arange(300)), (8, 8, 3)
    fixed = randaugment.RandAugment(magnitude=7.0, magnitude_std=0.0).draw(ids, shape)["magnitude"]
    np.testing.assert_array_equal(ops.convert_to_numpy(fixed), 7)
    wild = ops.convert_to_numpy(
        randaugment.RandAugment(magnitude=5.0, magnitude_std=100.0).draw(ids, shape)["magnitude"]
    )
    assert wild.min() == 0 and wild.max() == 10 and np.isfinite(wild).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_what_should_change_nothing_changes_nothing(channels):
    cases, images, found = all_at_all_magnitudes(channels)
    unchanged = []
    for (number, magnitude, _, _), image, result in zip(cases, images, found, strict=True):
        name, still = EVERY[number], {"Identity": True, "Color": channels == 1}
        still.update({name: magnitude == 0.0 for name in randaugment_numpy.WARPS})
        if still.get(name) or (name in randaugment_numpy.ENHANCERS and magnitude == 5.0):
            np.testing.assert_allclose(result, image.astype("float32") / 255, atol=1e-6, err_msg=f"{name} {magnitude}")
            unchanged.append(name)
    assert len(set(unchanged)) == 10


def test_what_is_not_applied_changes_no_bit():
    images = np.random.default_rng(6).random((9, 8, 11, 3), dtype="float32")
    found = made(quick, randaugment.RandAugment(probability=0.0), images, np.arange(9))
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize("interpolation", affine.INTERPOLATIONS)
def test_warps_by_whole_pixels_and_right_angles_are_exact(interpolation):
    images = np.random.default_rng(7).random((2, 9, 9, 3), dtype="float32")
    moved = np.array([[1, 0, 2, 0, 1, 0], [1, 0, 0, 0, 1, -3]], "float32")
    matrix = ops.concatenate([moved, affine.rotation(ops.convert_to_tensor(np.float32([90.0, -90.0])), 9, 9)])
    warp = quick(lambda batch, rows: affine.warped(batch, rows, (0.5, 0.25, 0.75), interpolation))
    found = ops.convert_to_numpy(warp(np.concatenate([images, images]), matrix))
    expected = np.empty_like(images)
    expected[:] = (0.5, 0.25, 0.75)
    expected[0, :, :-2] = images[0, :, 2:]
    expected[1, 3:] = images[1, :-3]
    np.testing.assert_array_equal(found[:2], expected)
    np.testing.assert_allclose(found[2], np.rot90(images[0]), atol=1e-5)
    np.testing.assert_allclose(found[3], np.rot90(images[1], -1), atol=1e-5)


@functools.cache
def multiplied_by_group():
    """Images of group k > 0 times k + 1, plus a number that is drawn for each."""
    functions = [lambda x, row_drawn, k=k: k * x + row_drawn["shift"][:, None, None, None] for k in (2, 3, 4)]
    return quick(lambda images, group, shift: randaugment.grouped(images, group, {"shift": shift}, functions))


@pytest.mark.parametrize("sizes", [(70, 0, 0, 0), (0, 0, 70, 0), (3, 33, 0, 34), (0, 32, 1, 37), (20, 1, 48, 1)])
def test_groups_go_through_their_own_function(sizes):
    generator = np.random.default_rng(8)
    group = generator.permutation(np.repeat(np.arange(4), sizes)).astype("int32")
    images = generator.random((70, 2, 3, 1), dtype="float32")
    shift = generator.random((70,), dtype="float32")
    found = multiplied_by_group()(images, group, shift)
    added = np.where(group > 0, shift, 0)[:, None, None, None]
    expected = np.where(group > 0, group + 1, 1)[:, None, None, None] * images + added
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-6)


def test_an_image_does_not_depend_on_its_neighbors():
    view = randaugment.RandAugment(probability=1.0)
    see = quick(lambda batch, numbers: view(batch, seeds.Seed(3).fold(numbers)))
    images, ids = pictures(90, 3, 18, 20).astype("float32") / 255, np.arange(90, dtype="int32")
    together = ops.convert_to_numpy(see(images, ids))
    assert together.min() >= 0 and together.max() <= 1
    order = np.random.default_rng(3).permutation(90)
    permuted = ops.convert_to_numpy(see(images[order], ids[order]))
    np.testing.assert_allclose(permuted, together[order], atol=1e-6)
    kept = ids % 7 == 3
    others = see(np.where(kept[:, None, None, None], images, images[::-1]), np.where(kept, ids, ids + 1000))
    np.testing.assert_allclose(ops.convert_to_numpy(others)[kept], together[kept], atol=1e-6)


@pytest.mark.slow
def test_graphs_and_compilers_agree_with_eager():
    if keras.backend.backend() == "jax":
        pytest.skip("JAX has no graphs apart from its compiler's")
    import tensorflow as tf

    view = randaugment.RandAugment(probability=1.0)
    images = pictures(40, 3, 18, 20).astype("float32") / 255
    eager = made(lambda function: function, view, images, np.arange(40))
    spec = [tf.TensorSpec([None, 18, 20, 3], tf.float32), tf.TensorSpec([None], tf.int32)]
    graph = made(lambda function: tf.function(function, input_signature=spec), view, images, np.arange(40))
    np.testing.assert_allclose(graph, eager, atol=1e-6)
    # A last bit may decide to which of two levels a pixel is rounded, or whether it comes from outside.
    apart = np.abs(made(compiled, view, images, np.arange(40)) - eager)
    assert np.mean(apart > 1e-5) < 1e-3, np.mean(apart > 1e-5)


@pytest.mark.slow
def test_image_by_image_it_is_the_same():
    augment = randaugment.RandAugment(probability=1.0)
    images = pictures(40, 3, 18, 20).astype("float32") / 255
    together = made(compiled, augment, images, np.arange(40))
    with context.using(image_by_image=True):
        apart = np.abs(made(compiled, augment, images, np.arange(40)) - together)
    assert np.mean(apart > 1e-5) < 1e-3, np.mean(apart > 1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"count": 0}, "RandAugment: expected `count` to be a positive integer. Received: count=0."),
        ({"magnitude": 11}, r"expected `magnitude` in \[0, 10\]. Received: magnitude=11."),
        ({"magnitude_std": -1}, "expected `magnitude_std` >= 0. Received: magnitude_std=-1."),
        ({"probability": 1.5}, r"expected `probability` in \[0, 1\]. Received: probability=1.5."),
        ({"operations": ()}, r"expected `operations` to be a tuple of names. Received: operations=\(\)."),
        ({"operations": ("Posterise",)}, "Received: operations='Posterise'. Did you mean 'PosterizeTpu'?"),
        ({"interpolations": ("nearest",)}, "expected `interpolations` to be one of 'bilinear', 'bicubic'."),
        ({"fill": (0.5, 0.5)}, r"expected `fill` to be \(red, green, blue\) in \[0, 1\]. Received: fill=\(0.5, 0.5\)."),
        ({"fill": (124, 116, 104)}, "expected `fill`"),
    ],
)
def test_mistakes_are_refused_at_construction(settings, message):
    with pytest.raises(ValueError, match=message):
        randaugment.RandAugment(**settings)


def test_other_numbers_of_channels_are_refused():
    view = randaugment.RandAugment()
    drawn = view.draw(seeds.Seed(1).fold(np.arange(2)), (8, 8, 2))
    with pytest.raises(ValueError, match="RandAugment: expected images with 1 or 3 channels. Received: channels=2."):
        view.apply(ops.zeros((2, 8, 8, 2)), drawn)


def test_settings_compare_and_rebuild():
    view = randaugment.RandAugment(operations=list(randaugment.CMC))
    assert view == randaugment.RandAugment(operations=randaugment.CMC) and hash(view) is not None
    assert eval(repr(view), {"RandAugment": randaugment.RandAugment}) == view
