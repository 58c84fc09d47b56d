"""The linear protocol: logistic regression on frozen features, its penalty chosen by cross-validation.

L-BFGS on frozen features is the protocol of Kornblith et al., 2019, "Do Better ImageNet Models Transfer Better?",
https://arxiv.org/abs/1805.08974; `zoo.transfer.logistic` has the formula.

The penalty is that of the lowest Brier score (1950) of held-out training examples: the squared distance of the
predicted probabilities from the one-hot label. Counts of errors are so coarse that on a few hundred examples the choice
would follow the seed of the folds; the score uses how sure a prediction was.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from zoo.transfer import logistic, splits

# From strong to weak. The penalty is per example, so that a value chosen on four fifths of the labels suits all.
PENALTIES = tuple(10.0 ** (-step / 2) for step in range(13))
# The penalties go on, in steps of half a decade, while the best is the first or the last, as far as these two.
STRONGEST, WEAKEST = 1e4, 1e-8
# Smallest standard deviation of a feature, relative to the root mean square of all.
_FLOOR = 0.1
# The path of penalties ends after this many that were no better than the best.
_PATIENCE = 2


class Standard:
    """Standardizes features to mean 0 and standard deviation 1 of the training examples.

    No standard deviation counts for less than a tenth of the root mean square of all. Otherwise a pixel that is black
    in all training images but one would outweigh all others in a test image where it is white.

    Args:
        features: features of the training examples, `[n, F]`.
    """

    def __init__(self, features: np.ndarray):
        # NumPy adds float32 rows one by one; over 60,000 of them only double precision keeps all digits.
        self.mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        variance = np.square(features - self.mean).mean(axis=0, dtype=np.float64)
        floor = _FLOOR * np.sqrt(variance.mean())
        scale = np.maximum(np.sqrt(variance), floor)
        self.scale = np.where(scale > 0, scale, 1.0).astype(np.float32)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Returns standardized features, float32 `[m, F]`."""
        return (np.asarray(features, np.float32) - self.mean) / self.scale


def _half_decades(first: float, last: float) -> list[float]:
    """Returns the penalties after the first as far as the last, half a decade apart."""
    steps = 2 * math.log10(last / first)
    return [first * 10.0 ** (math.copysign(step, steps) / 2) for step in range(1, round(abs(steps)) + 1)]


def _lowest(means: dict[float, float]) -> float:
    """Returns the vertex of the parabola through the lowest mean and its neighbors, over the logarithm of the penalty.

    Between penalties of about equal means, it depends less on the seed of the folds than the lowest of them.
    """
    penalties = sorted(means)
    index = min(range(len(penalties)), key=lambda i: means[penalties[i]])
    if index in (0, len(penalties) - 1):
        return penalties[index]
    around = penalties[index - 1 : index + 2]
    square, slope, _ = np.polyfit(np.log(around), [means[penalty] for penalty in around], 2)
    return float(np.exp(-slope / (2 * square))) if square > 0 else penalties[index]


class Choice(NamedTuple):
    """A penalty chosen by cross-validation.

    Attributes:
        l2: the penalty.
        near: penalties from strong to weak, `l2` among them, whose score was within one standard error of the best.
        is_border: whether `l2` is the strongest or the weakest that was allowed, so that a better one may lie beyond.
        problem: the problem of all training examples.
        standard: how its features are standardized.
    """

    l2: float
    near: list[float]
    is_border: bool
    problem: logistic.Problem
    standard: Standard


def chosen_l2(
    features: np.ndarray,
    labels: np.ndarray,
    held_out: Sequence[tuple[np.ndarray, np.ndarray]],
    penalties: Iterable[float] = PENALTIES,
) -> Choice:
    """Returns the penalty of the lowest mean Brier score of held-out training examples, between the penalties tried.

    The path goes from strong to weak penalties, each fit beginning where the previous one ended, and ends once two in a
    row were no better than the best. If the weakest or the strongest is the best, it goes on in steps of half a decade,
    as far as `WEAKEST` and `STRONGEST`. The standard error is that of an example's difference from its score under the
    best penalty.

    Args:
        features: `[n, F]`, not yet standardized; all are standardized alike, which uses no label.
        labels: int64 `[n]` in [0, K), every class.
        held_out: pairs `(rows to fit, rows to choose by)`.
        penalties: positive floats.
    """
    standard = Standard(features)
    problem = logistic.Problem(standard(features), labels, int(labels.max()) + 1)
    scores: dict[float, np.ndarray] = {}  # of every example
    means: dict[float, float] = {}

    def tried(l2, starts):
        scores[l2], ends = problem.held_out(l2, held_out, starts)
        means[l2] = float(scores[l2].mean())
        return ends, min(means, key=lambda penalty: means[penalty])

    strongest, *path = sorted(penalties, reverse=True)
    ends_of_strongest, best = tried(strongest, [None] * len(held_out))
    ends = ends_of_strongest
    for l2 in [*path, *_half_decades(path[-1] if path else strongest, WEAKEST)]:
        ends, best = tried(l2, ends)
        if len(means) - list(means).index(best) > _PATIENCE:
            break
    ends = ends_of_strongest
    for l2 in _half_decades(strongest, STRONGEST):
        if best < max(means):
            break
        ends, best = tried(l2, ends)
    l2 = _lowest(means)
    near = {l2}
    for penalty, each in scores.items():
        worse = each - scores[best]
        if worse.mean() <= worse.std() / math.sqrt(len(worse)):
            near.add(penalty)
    return Choice(l2, sorted(near, reverse=True), l2 in (min(means), max(means)), problem, standard)


def linear_accuracy(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    held_out: Sequence[tuple[np.ndarray, np.ndarray]] | None = None,
    seed: int = 0,
) -> tuple[float, dict[str, Any]]:
    """Returns the test accuracy of a linear classifier on frozen features; test examples choose nothing.

    Args:
        train_features: `[n, F]`.
        train_labels: int64 `[n]`, >= 0, of two or more classes.
        test_features: `[m, F]`.
        test_labels: int64 `[m]`, >= 0.
        held_out: pairs `(rows to fit, rows to choose by)` of the training examples, by which the penalty is chosen; by
            default those of `zoo.transfer.splits.folds`.
        seed: seed of the default folds.

    Returns:
        Accuracy in [0, 1], and a dict: `l2`, the same as scikit-learn's `C`, and `border` if no penalty beyond was
        allowed; `l2_near` and `accuracy_near`, the least and the greatest of the penalties within one standard error
        of the best, and of the accuracies under them.
    """
    train_features, test_features = splits.matrices("linear", train_features, test_features)
    train_labels = splits.check("linear", train_labels, len(train_features))
    test_labels = splits.check("linear", test_labels, len(test_features))
    known, compact = np.unique(train_labels, return_inverse=True)
    if len(known) < 2:
        raise ValueError(f"linear: expected labels of two or more classes. Received: only {known[0]}.")
    choice = chosen_l2(train_features, compact, splits.folds(compact, seed) if held_out is None else held_out)
    test_features = choice.standard(test_features)
    accuracies: dict[float, float] = {}
    solution = None
    for l2 in choice.near:
        solution = kernel, bias = choice.problem.solve(l2, solution)
        predicted = known[(test_features @ kernel.astype(np.float32) + bias).argmax(axis=1)]
        accuracies[l2] = float((predicted == test_labels).mean())
    if choice.is_border:
        logging.warning(
            "linear: the best penalty, %.1e, is the last that is tried; a better one may lie beyond.", choice.l2
        )
    return accuracies[choice.l2], {
        "l2": choice.l2,
        "C": 1 / (len(train_labels) * choice.l2),
        "border": choice.is_border,
        "l2_near": [min(choice.near), max(choice.near)],
        "accuracy_near": [min(accuracies.values()), max(accuracies.values())],
    }
