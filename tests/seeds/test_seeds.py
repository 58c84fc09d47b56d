import numpy as np
import pytest
from keras import ops

from zoo import seeds

ONES = np.uint32(0xFFFFFFFF)


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


# The known answers that the authors of Threefry publish with their Random123 library.
@pytest.mark.parametrize(
    "key, counter, answer",
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((ONES, ONES), (ONES, ONES), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
@pytest.mark.parametrize("xp", [np, ops], ids=["numpy", "keras"])
def test_threefry_gives_the_published_answers(key, counter, answer, xp):
    words = [xp.array([word], dtype="uint32") for word in (*key, *counter)]
    found = seeds.threefry(words[:2], words[2:], xp)
    assert tuple(int(numpy(word)[0]) for word in found) == answer


def test_a_draw_depends_on_everything_folded_and_nothing_else():
    base = numpy(seeds.Seed(3).fold(1).fold(np.arange(4)).uniform((2,)))
    np.testing.assert_array_equal(base, numpy(seeds.Seed(3).fold(1).fold(np.arange(4)).uniform((2,))))
    for other in (seeds.Seed(4).fold(1), seeds.Seed(3).fold(2), seeds.Seed(3), seeds.Seed(3 << 32).fold(1)):
        assert not np.any(numpy(other.fold(np.arange(4)).uniform((2,))) == base)


def test_an_example_draws_the_same_in_any_batch():
    whole = numpy(seeds.Seed(0).fold(np.array([5, 6, 7])).uniform((3,)))
    np.testing.assert_array_equal(whole[1:2], numpy(seeds.Seed(0).fold(np.array([6])).uniform((3,))))


def test_folding_is_ordered_and_apart_from_drawing():
    assert not np.array_equal(
        numpy(seeds.Seed(0).fold(1).fold(2).bits(1)), numpy(seeds.Seed(0).fold(2).fold(1).bits(1))
    )
    folded = [int(numpy(word)) for word in seeds.Seed(0).fold(0).key]
    assert folded[0] not in numpy(seeds.Seed(0).bits(2))


def test_uniform_is_uniform():
    draws = numpy(seeds.Seed(1).fold(np.arange(20_000)).uniform((2,), low=-1, high=3))
    assert draws.min() >= -1 and draws.max() < 3
    counts = np.histogram(draws, bins=16, range=(-1, 3))[0] / draws.size
    np.testing.assert_allclose(counts, 1 / 16, atol=0.005)  # five standard deviations
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.03


def test_bernoulli_has_its_probability():
    assert numpy(seeds.Seed(1).fold(np.arange(20_000)).bernoulli(0.2)).mean() == pytest.approx(0.2, abs=0.015)


def test_permutation_orders_all_things_equally_often():
    orders = numpy(seeds.Seed(2).fold(np.arange(6_000)).permutation(3))
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(3), (6_000, 1)))
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 6 and counts.min() > 850


def test_shuffled_is_a_permutation_of_its_own_per_fold():
    first = seeds.shuffled(1000, 7, 0)
    np.testing.assert_array_equal(np.sort(first), np.arange(1000))
    np.testing.assert_array_equal(first, seeds.shuffled(1000, 7, 0))
    assert np.mean(first == seeds.shuffled(1000, 7, 1)) < 0.02


@pytest.mark.parametrize("value", [-1, 2**64, 1.5, "3", True])
def test_refuses_what_is_no_seed(value):
    with pytest.raises(ValueError, match="expected an integer"):
        seeds.Seed(value)
