"""95 % intervals of an accuracy: over test images of one fit, over draws or training seeds where there are several."""

import numpy as np
import scipy.stats

LEVEL = 0.95


def wilson(accuracy, count):
    """Wilson's interval (1927) of an accuracy on `count` test images: how well another test set would do.

    Args:
        accuracy: in [0, 1].
        count: test images.

    Returns:
        `(low, high)`.
    """
    correct = round(accuracy * count)
    interval = scipy.stats.binomtest(correct, count).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def student(values):
    """Student's interval of the mean of two or more accuracies, cut to [0, 1]; None for a single one.

    Args:
        values: accuracies in [0, 1].

    Returns:
        `(low, high)`, or None.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return None
    half = scipy.stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(max(values.mean() - half, 0.0)), float(min(values.mean() + half, 1.0))
