import numpy as np
import pytest

from zoo.transfer import intervals


def test_wilson_in_closed_form():
    p, n, z = 0.9, 500, 1.959963984540054
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert intervals.wilson(p, n) == pytest.approx((center - half, center + half))


def test_wilson_of_all_right_is_not_a_point():
    low, high = intervals.wilson(1.0, 100)
    assert 0.95 < low < 0.97 and high == pytest.approx(1.0)


def test_student_in_closed_form():
    values = [0.80, 0.82, 0.84]
    half = 4.302652729911275 * 0.02 / np.sqrt(3)  # the 97.5 % point of two degrees of freedom
    assert intervals.student(values) == pytest.approx((0.82 - half, 0.82 + half))


def test_student_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [intervals.student(rng.normal(0.5, 0.01, 5)) for _ in range(2000)]
    covered = np.mean([low <= 0.5 <= high for low, high in found])
    assert abs(covered - 0.95) < 0.02


def test_student_of_a_single_value_is_none():
    assert intervals.student([0.5]) is None


def test_student_is_cut_at_what_is_possible():
    assert intervals.student([0.0, 1.0], 0.0, 1.0) == (0.0, 1.0)
    low, high = intervals.student([0.0, 1.0])
    assert low < 0 and high > 1
