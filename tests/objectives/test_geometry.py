import numpy as np
import pytest
from keras import ops
from reference import contrast_numpy as reference

from zoo.objectives import geometry


def unit(seed, batch=9, width=6):
    z = np.random.default_rng(seed).normal(size=(batch, width)).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def value(tensor):
    return float(ops.convert_to_numpy(tensor))


def tensor(z):
    return ops.convert_to_tensor(z.astype(np.float32))


def test_alignment():
    a, b = unit(0), unit(1)
    assert value(geometry.alignment(tensor(a), tensor(b))) == pytest.approx(np.mean(np.sum((a - b) ** 2, 1)), rel=1e-5)
    assert value(geometry.alignment(tensor(a), tensor(a))) == 0


def test_uniformity_equals_the_sum_over_pairs():
    z = unit(2)
    assert value(geometry.uniformity(tensor(z))) == pytest.approx(reference.uniformity(z), rel=1e-4)


def test_uniformity_of_one_point_is_zero():
    assert value(geometry.uniformity(tensor(np.tile(unit(0, 1), (5, 1))))) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", [(9, 6), (4, 6)])
def test_effective_rank_equals_the_singular_values(shape):
    z = unit(3, *shape)
    assert value(geometry.effective_rank(tensor(z))) == pytest.approx(reference.effective_rank(z), rel=1e-3)


def test_effective_rank_of_known_embeddings():
    assert value(geometry.effective_rank(tensor(np.eye(5)))) == pytest.approx(5, rel=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("width", [2, 64, 256, 2048])
def test_a_dead_encoder_reads_as_dead(width, dtype):
    for row in (unit(0, 1, width), np.zeros((1, width))):
        z = ops.cast(ops.convert_to_tensor(np.tile(row, (512, 1))), dtype)
        assert value(geometry.effective_rank(z)) == pytest.approx(1, abs=1e-3)
        assert value(geometry.uniformity(z)) == pytest.approx(0, abs=1e-2 if "16" in dtype else 1e-5)
        assert value(geometry.alignment(z, z)) == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_measures_of_every_float_type_agree(dtype):
    a, b = unit(0, 40, 16), unit(1, 40, 16)
    expected = geometry.measurements(tensor(a), tensor(b))
    found = geometry.measurements(ops.cast(tensor(a), dtype), ops.cast(tensor(b), dtype))
    for name, number in expected.items():
        assert value(found[name]) == pytest.approx(value(number), rel=2e-2), name


def test_view_accuracy_counts_images_whose_views_are_nearest():
    a = unit(4, 12, 5)
    b = np.concatenate([a[8::-1], a[9:]])  # rows 4 and 9 to 11 stay where they are
    assert value(geometry.view_accuracy(tensor(a), tensor(b))) == pytest.approx(4 / 12)
    b = a + 0.8 * unit(5, 12, 5)
    expected = np.mean((a @ b.T).argmax(axis=1) == np.arange(12))
    assert 0 < expected < 1 and value(geometry.view_accuracy(tensor(a), tensor(b))) == pytest.approx(expected)
    assert value(geometry.view_accuracy(tensor(a), tensor(a))) == 1


def test_ties_are_no_hits_of_view_accuracy():
    z = tensor(np.tile(unit(0, 1), (5, 1)))
    assert value(geometry.view_accuracy(z, z)) == 0
