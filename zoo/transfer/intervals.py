"""Intervals at 95 %: over the test examples of one fit, or over several draws or training seeds."""

import math
from collections.abc import Sequence

import numpy as np
import scipy.stats

LEVEL = 0.95


def wilson(accuracy: float, count: int) -> tuple[float, float]:
    """Returns Wilson's interval (1927) of an accuracy: where another test set would put it.

    Args:
        accuracy: in [0, 1].
        count: number of test examples.
    """
    correct = round(accuracy * count)
    interval = scipy.stats.binomtest(correct, count).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def student(
    values: Sequence[float], lowest: float = -math.inf, highest: float = math.inf
) -> tuple[float, float] | None:
    """Returns Student's interval of a mean, or None for a single value.

    Args:
        values: one or more numbers.
        lowest: the least possible value; the interval is cut there.
        highest: the greatest possible value; the interval is cut there.
    """
    if len(values) < 2:
        return None
    numbers = np.asarray(values, np.float64)
    half = scipy.stats.t.ppf((1 + LEVEL) / 2, len(numbers) - 1) * numbers.std(ddof=1) / np.sqrt(len(numbers))
    return float(max(numbers.mean() - half, lowest)), float(min(numbers.mean() + half, highest))
