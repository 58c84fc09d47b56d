"""The linear protocol: logistic regression on frozen features, its penalty chosen on held-out training labels.

Minimizes mean cross-entropy + l2 / 2 * |kernel|^2, with no penalty on the bias; scikit-learn's C is 1 / (n * l2). The
solver is L-BFGS, as in Kornblith et al., 2019, "Do Better ImageNet Models Transfer Better?",
https://arxiv.org/abs/1805.08974.

Two changes of variables keep the minimum and need fewer steps: features are rotated onto their principal axes (which
also leaves at most n of them), and each axis is scaled by the curvature of the loss along it where all classes are
equally likely (Böhning, 1992, "Multinomial logistic regression algorithm").
"""

import functools
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy.optimize
import tensorflow as tf
import threadpoolctl
from absl import logging

from zoo import checks
from zoo.transfer import splits

# From strong to weak. The penalty is per example, so that a value chosen on nine tenths of the labels suits all.
PENALTIES = tuple(10.0 ** (-step / 2) for step in range(13))
# Features of at most this many numbers are fitted by NumPy in double precision, larger ones by TensorFlow in single.
_SMALL = 2**20
# Smallest standard deviation of a feature, relative to the root mean square of all.
_FLOOR = 0.1
# The path of penalties ends after this many that were no better than the best.
_PATIENCE = 3


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


def _small(kernel, bias, axes, targets):
    """Returns the cross-entropy and its gradients with respect to `kernel` and `bias`; the fastest for small problems.

    Args:
        kernel: `[A, K]`.
        bias: `[K]`.
        axes: features along principal axes, `[A, n]`.
        targets: one-hot labels, `[n, K]`.
    """
    logits = axes.T @ kernel + bias  # [n, K]
    odds = logits - logits.max(axis=1, keepdims=True)
    log_odds = odds - np.log(np.exp(odds).sum(axis=1, keepdims=True))  # [n, K]
    residual = np.exp(log_odds) - targets  # [n, K]
    count = len(targets)
    return -(targets * log_odds).sum() / count, axes @ residual / count, residual.sum(axis=0) / count


@tf.function(
    input_signature=[
        tf.TensorSpec([None, None], tf.float64),
        tf.TensorSpec([None], tf.float64),
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None, None], tf.float32),
    ],
    autograph=False,
)
def _large(kernel, bias, axes, targets):
    """Returns the same as `_small` in single precision, with sums over examples in double precision."""
    # Products that are long in n and short in K are fastest in this order and with examples along the rows of `axes`.
    product = tf.transpose(tf.matmul(tf.cast(kernel, tf.float32), axes, transpose_a=True))  # [n, K]
    logits = product + tf.cast(bias, tf.float32)  # [n, K]
    log_odds = tf.nn.log_softmax(logits)  # [n, K]
    count = tf.cast(tf.shape(targets)[0], tf.float64)
    # Targets are one-hot, so the sum over K is exact.
    loss = -tf.reduce_sum(tf.cast(tf.reduce_sum(targets * log_odds, axis=1), tf.float64)) / count
    residual = tf.exp(log_odds) - targets  # [n, K]
    by_kernel = tf.matmul(axes, residual)  # [A, K]
    by_bias = tf.reduce_sum(tf.cast(residual, tf.float64), axis=0)  # [K]
    return loss, tf.cast(by_kernel, tf.float64) / count, by_bias / count


@functools.cache
def _threads():
    return threadpoolctl.ThreadpoolController()


def _one_blas_thread():
    """Returns the context in which NumPy and SciPy compute on one thread.

    The vectors of L-BFGS are so short that a second thread costs many times what it saves. After each larger product it
    would also keep spinning on a core that TensorFlow needs.
    """
    return _threads().limit(limits=1, user_api="blas")


def _principal_axes(features):
    """Returns orthonormal columns, `[F, min(n, F)]`, along which the features, `[n, F]`, are uncorrelated."""
    with _one_blas_thread():
        if features.shape[0] < features.shape[1]:
            return np.linalg.svd(features.numpy(), full_matrices=False)[2].T.astype(np.float64)
        gram = tf.matmul(features, features, transpose_a=True).numpy().astype(np.float64)
        return np.linalg.eigh(gram)[1]


class Problem:
    """Logistic regression on one set of examples, which can be solved under several penalties.

    Args:
        features: `[n, F]`, standardized.
        labels: int64 `[n]` in [0, classes).
        classes: number of classes, K >= 2.
        rotation: orthogonal `[F, F]` that replaces the principal axes, such as the `rotation` of a problem with most of
            these examples: the axes need not be exact. A rotation of another shape is ignored: one from fewer examples
            than features does not span all features.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, classes: int, rotation: np.ndarray | None = None):
        count, width = features.shape
        small = count * width <= _SMALL
        features = tf.constant(features, tf.float64 if small else tf.float32)
        if rotation is None or rotation.shape != (width, width):
            rotation = _principal_axes(features)
        self.rotation, self.classes = rotation, classes  # [F, A]
        axes = tf.transpose(tf.matmul(features, tf.constant(rotation, features.dtype)))  # [A, n]
        self._curvature = tf.reduce_mean(tf.square(axes), axis=1).numpy().astype(np.float64) / classes  # [A]
        targets = np.eye(classes, dtype=np.float64 if small else np.float32)[labels]  # [n, K]
        self._objective = _small if small else _large
        self._data = (axes.numpy(), targets) if small else (axes, tf.constant(targets))

    def solve(
        self,
        l2: float,
        start: tuple[np.ndarray, np.ndarray] | None = None,
        tolerance: float = 1e-5,
        iterations: int = 500,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the minimum under one penalty.

        L-BFGS stops once no entry of the gradient, on the scaled axes, exceeds the tolerance. It stops earlier where a
        step lowers the loss by less than the loss is rounded. In single precision that may happen at about 1e-5.

        Args:
            l2: positive float.
            start: `(kernel, bias)` from which to begin; zeros by default.
            tolerance: largest entry of the gradient, on the scaled axes, at which to stop.
            iterations: maximum number of iterations.

        Returns:
            Kernel float64 `[F, K]` and bias float64 `[K]`.

        Raises:
            ValueError: the penalty is not positive.
        """
        checks.positive("linear", l2=l2)
        scale = 1 / np.sqrt(self._curvature + l2)[:, None]  # [A, 1]
        bias_scale = np.sqrt(self.classes)  # the same for the bias, whose feature is the constant 1
        shape = (len(scale) + 1, self.classes)

        def value_and_gradient(flat):
            point = flat.reshape(shape)
            kernel = point[:-1] * scale
            loss, by_kernel, by_bias = self._objective(kernel, point[-1] * bias_scale, *self._data)
            by_kernel = (np.asarray(by_kernel) + l2 * kernel) * scale
            gradient = np.concatenate([by_kernel, np.asarray(by_bias)[None] * bias_scale])
            return float(loss) + 0.5 * l2 * np.square(kernel).sum(), gradient.ravel()

        options = {"maxiter": iterations, "maxfun": 2 * iterations, "gtol": tolerance, "ftol": 1e-14}
        with _one_blas_thread():
            first = np.zeros(shape)
            if start is not None:
                first = np.concatenate([(self.rotation.T @ start[0]) / scale, start[1][None] / bias_scale])
            found = scipy.optimize.minimize(
                value_and_gradient, first.ravel(), jac=True, method="L-BFGS-B", options=options
            )
            point = found.x.reshape(shape)
            return self.rotation @ (point[:-1] * scale), point[-1] * bias_scale


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    l2: float,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    tolerance: float = 1e-5,
    iterations: int = 500,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the multinomial logistic regression under one penalty.

    Args:
        features: `[n, F]`, standardized.
        labels: int64 `[n]`, every class from 0 to K - 1.
        l2: positive float.
        start: `(kernel, bias)` from which to begin.
        tolerance: see `Problem.solve`.
        iterations: see `Problem.solve`.

    Returns:
        Kernel float64 `[F, K]` and bias float64 `[K]`.
    """
    return Problem(features, labels, int(labels.max()) + 1).solve(l2, start, tolerance, iterations)


def _logits(features, kernel, bias):
    product = tf.matmul(tf.constant(features, tf.float32), tf.constant(kernel, tf.float32))  # [m, K]
    return product.numpy().astype(np.float64) + bias


def _cross_entropy(logits, labels):
    highest = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return (log_sum - logits[np.arange(len(labels)), labels]).sum()


def chosen_l2(
    features: np.ndarray,
    labels: np.ndarray,
    held_out: Sequence[tuple[np.ndarray, np.ndarray]],
    penalties: Iterable[float] = PENALTIES,
) -> tuple[float, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Returns the penalty under which most held-out training labels are predicted correctly.

    The path goes from strong to weak penalties. Each fit begins where the previous one ended. The path ends early once
    three in a row were no better than the best. If counts are equal, the lower cross-entropy decides, then the stronger
    penalty.

    Args:
        features: `[n, F]`, not yet standardized: each fit standardizes by its own examples.
        labels: int64 `[n]` in [0, K), every class.
        held_out: pairs `(rows to fit, rows to choose by)`.
        penalties: positive floats.

    Returns:
        The penalty; the `(kernel, bias)` that the last pair reached under it; and that pair's `Problem.rotation`.
    """
    penalties, classes = sorted(penalties, reverse=True), int(labels.max()) + 1

    def prepared(fitting, choosing):  # a function, so that the selected features are freed before the path begins
        fitted = features[fitting]
        standard = Standard(fitted)
        return Problem(standard(fitted), labels[fitting], classes), (standard(features[choosing]), labels[choosing])

    problems, choices = zip(*(prepared(*rows) for rows in held_out), strict=True)
    solutions: list[Any] = [None] * len(problems)
    scores: list[tuple[int, float]] = []
    reached: list[Any] = []
    began = time.monotonic()
    for l2 in penalties:
        wrong, loss = 0, 0.0
        for index, (problem, (chosen_by, expected)) in enumerate(zip(problems, choices, strict=True)):
            solutions[index] = problem.solve(l2, solutions[index], tolerance=1e-4, iterations=200)
            logits = _logits(chosen_by, *solutions[index])
            wrong += int((logits.argmax(axis=1) != expected).sum())
            loss += _cross_entropy(logits, expected)
        scores.append((wrong, loss))
        reached.append(solutions[-1])
        if features.size > _SMALL:
            seconds = time.monotonic() - began
            logging.info("linear: penalty %.1e leaves %d held-out errors, after %.0f s", l2, wrong, seconds)
        if scores.index(min(scores)) <= len(scores) - 1 - _PATIENCE:
            break
    best = scores.index(min(scores))
    return penalties[best], reached[best], problems[-1].rotation


def linear_accuracy(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    held_out: Sequence[tuple[np.ndarray, np.ndarray]] | None = None,
    seed: int = 0,
) -> tuple[float, dict[str, float]]:
    """Returns the test accuracy of a linear classifier on frozen features; test examples are used once, at the end.

    Args:
        train_features: `[n, F]`.
        train_labels: int64 `[n]`, >= 0, of two or more classes.
        test_features: `[m, F]`.
        test_labels: int64 `[m]`, >= 0.
        held_out: pairs `(rows to fit, rows to choose by)` of the training examples, by which the penalty is chosen; by
            default a stratified tenth is held out.
        seed: seed of that tenth.

    Returns:
        Accuracy in [0, 1], and a dict of the settings used: `l2` and the same as scikit-learn's `C`.
    """
    train_features, test_features = splits.matrices("linear", train_features, test_features)
    train_labels = splits.check("linear", train_labels, len(train_features))
    test_labels = splits.check("linear", test_labels, len(test_features))
    known, compact = np.unique(train_labels, return_inverse=True)
    if len(known) < 2:
        raise ValueError(f"linear: expected labels of two or more classes. Received: only {known[0]}.")
    held_out = splits.hold_out(compact, seed) if held_out is None else held_out
    l2, nearby, rotation = chosen_l2(train_features, compact, held_out)
    standard = Standard(train_features)
    kernel, bias = Problem(standard(train_features), compact, len(known), rotation).solve(l2, nearby)
    predicted = known[_logits(standard(test_features), kernel, bias).argmax(axis=1)]
    return float((predicted == test_labels).mean()), {"l2": l2, "C": 1 / (len(train_labels) * l2)}
