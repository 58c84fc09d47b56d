"""The linear protocol: logistic regression on frozen features, its penalty chosen on held-out training labels.

Minimises mean cross-entropy + l2 / 2 * |kernel|^2, the bias free; scikit-learn's C is 1 / (n * l2). By L-BFGS, as in
Kornblith et al., 2019, "Do Better ImageNet Models Transfer Better?", https://arxiv.org/abs/1805.08974.

Two changes of variables leave the minimum where it is and make the way there short: features are rotated onto their
principal axes (which also leaves at most n of them), and each axis is scaled by the curvature that the loss has along
it where all classes are equally likely (Böhning, 1992, "Multinomial logistic regression algorithm").
"""

import functools
import time

import numpy as np
import scipy.optimize
import tensorflow as tf
import threadpoolctl
from absl import logging

from zoo.transfer import splits

# From strong to weak. Per example, so that a value chosen on nine tenths of the labels suits all of them.
PENALTIES = tuple(10.0 ** (-step / 2) for step in range(13))
_SMALL = 2**20  # numbers in a matrix up to which it is small
_FLOOR = 0.1
_PATIENCE = 3


class Standard:
    """Features with the training examples' mean 0 and standard deviation 1.

    A feature that hardly varies in training is not blown up to that: no standard deviation counts for less than a tenth
    of the root mean square of all. Else a pixel that is black in every training image but one would shout down all
    others where it is white in a test image.

    Args:
        features: of the training examples, `[n, F]`.
    """

    def __init__(self, features):
        # NumPy sums float32 columns one after the other; double precision keeps every digit of 60,000 of them.
        self.mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        variance = np.square(features - self.mean).mean(axis=0, dtype=np.float64)
        floor = _FLOOR * np.sqrt(variance.mean())
        scale = np.maximum(np.sqrt(variance), floor)
        self.scale = np.where(scale > 0, scale, 1.0).astype(np.float32)

    def __call__(self, features):
        """Standardised features, float32 `[m, F]`."""
        return (np.asarray(features, np.float32) - self.mean) / self.scale


def _small(kernel, bias, axes, targets):
    """Cross-entropy and its gradients by `kernel` and `bias`, of axes `[A, n]`; NumPy is fastest where they are few."""
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
    """The same in single precision, with sums over examples in double."""
    # In this order, and with examples along rows of `axes`, products that are long in n and short in K are quickest.
    product = tf.transpose(tf.matmul(tf.cast(kernel, tf.float32), axes, transpose_a=True))  # [n, K]
    logits = product + tf.cast(bias, tf.float32)  # [n, K]
    log_odds = tf.nn.log_softmax(logits)  # [n, K]
    count = tf.cast(tf.shape(targets)[0], tf.float64)
    # The target of a row is one-hot, so the sum over K rounds nothing.
    loss = -tf.reduce_sum(tf.cast(tf.reduce_sum(targets * log_odds, axis=1), tf.float64)) / count
    residual = tf.exp(log_odds) - targets  # [n, K]
    slope = tf.matmul(axes, residual)  # [A, K]
    tilt = tf.reduce_sum(tf.cast(residual, tf.float64), axis=0)  # [K]
    return loss, tf.cast(slope, tf.float64) / count, tilt / count


@functools.cache
def _threads():
    return threadpoolctl.ThreadpoolController()


def _one_blas_thread():
    """Within, NumPy and SciPy compute on one thread.

    The vectors of L-BFGS are so short that a second costs many times what it does; and after every larger product it
    would wait for more, awake, on the core that TensorFlow needs.
    """
    return _threads().limit(limits=1, user_api="blas")


def _principal_axes(features):
    """Orthonormal columns, `[F, min(n, F)]`, along which `features`, `[n, F]`, vary independently."""
    with _one_blas_thread():
        if features.shape[0] < features.shape[1]:
            return np.linalg.svd(features.numpy(), full_matrices=False)[2].T.astype(np.float64)
        gram = tf.matmul(features, features, transpose_a=True).numpy().astype(np.float64)
        return np.linalg.eigh(gram)[1]


class Problem:
    """Logistic regression on one set of examples, to be solved under any penalty.

    Args:
        features: `[n, F]`, standardised.
        labels: int64 `[n]` in [0, classes).
        classes: number of classes, K >= 2.
        rotation: orthogonal `[F, F]`, such as `rotation` of a problem that has most of these examples: takes the place
            of the principal axes, which need not be exact. That of fewer examples than features does not, for it spans
            less than all of them do.
    """

    def __init__(self, features, labels, classes, rotation=None):
        count, width = features.shape
        small = count * width <= _SMALL
        features = tf.constant(features, tf.float64 if small else tf.float32)
        if rotation is None or rotation.shape != (width, width):
            rotation = _principal_axes(features)
        self.rotation, self.classes = rotation, classes  # [F, A]
        axes = tf.transpose(tf.matmul(features, tf.constant(rotation, features.dtype)))  # [A, n]
        self._curvature = tf.reduce_mean(tf.square(axes), axis=1).numpy().astype(np.float64) / classes  # [A]
        targets = np.eye(classes, dtype=features.dtype.as_numpy_dtype)[labels]  # [n, K]
        self._objective = _small if small else _large
        self._data = (axes.numpy(), targets) if small else (axes, tf.constant(targets))

    def solve(self, l2, start=None, tolerance=1e-5, iterations=500):
        """The minimum under one penalty.

        Args:
            l2: positive float.
            start: `(kernel, bias)` from which to begin; zeros by default.
            tolerance: largest entry of the gradient, on the scaled axes, at which to stop.
            iterations: at most so many.

        Returns:
            Kernel float64 `[F, K]` and bias float64 `[K]`.
        """
        if not l2 > 0:
            raise ValueError(f"linear: expected a penalty > 0. Received: l2={l2}.")
        scale = 1 / np.sqrt(self._curvature + l2)[:, None]  # [A, 1]
        tall = np.sqrt(self.classes)  # the same for the bias, whose feature is a constant 1
        shape = (len(scale) + 1, self.classes)

        def value_and_gradient(flat):
            point = flat.reshape(shape)
            kernel = point[:-1] * scale
            loss, slope, tilt = self._objective(kernel, point[-1] * tall, *self._data)
            gradient = np.concatenate([(np.asarray(slope) + l2 * kernel) * scale, np.asarray(tilt)[None] * tall])
            return float(loss) + 0.5 * l2 * np.square(kernel).sum(), gradient.ravel()

        options = {"maxiter": iterations, "maxfun": 2 * iterations, "gtol": tolerance, "ftol": 1e-14}
        with _one_blas_thread():
            first = np.zeros(shape)
            if start is not None:
                first = np.concatenate([(self.rotation.T @ start[0]) / scale, start[1][None] / tall])
            found = scipy.optimize.minimize(
                value_and_gradient, first.ravel(), jac=True, method="L-BFGS-B", options=options
            )
            point = found.x.reshape(shape)
            return self.rotation @ (point[:-1] * scale), point[-1] * tall


def fit(features, labels, l2, start=None, tolerance=1e-5, iterations=500):
    """Multinomial logistic regression under one penalty.

    Args:
        features: `[n, F]`, standardised.
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


def chosen_l2(features, labels, held_out, penalties=PENALTIES):
    """The penalty under which most held-out training labels are predicted right.

    The path runs from strong to weak penalties, every fit beginning where the one before ended, and ends early once
    three in a row were no better than the best. Between equal counts the lower cross-entropy decides, then the stronger
    penalty.

    Args:
        features: `[n, F]`, not yet standardised: each fit does so by its own examples.
        labels: int64 `[n]` in [0, K), every class.
        held_out: pairs `(rows that fit, rows that choose)`.
        penalties: positive floats.

    Returns:
        The penalty; the `(kernel, bias)` that the last pair reached under it; and that pair's `Problem.rotation`.
    """
    penalties, classes = sorted(penalties, reverse=True), int(labels.max()) + 1

    def prepared(fitting, choosing):  # what it selects is freed before the path begins
        fitted = features[fitting]
        standard = Standard(fitted)
        return Problem(standard(fitted), labels[fitting], classes), (standard(features[choosing]), labels[choosing])

    problems, choices = zip(*(prepared(*rows) for rows in held_out), strict=True)
    solutions, scores, reached = [None] * len(problems), [], []
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


def linear_accuracy(train_features, train_labels, test_features, test_labels, held_out=None, seed=0):
    """Test accuracy of a linear classifier on frozen features; the test examples are used once, at the end.

    Args:
        train_features: `[n, F]`.
        train_labels: int64 `[n]`, >= 0, of two or more classes.
        test_features: `[m, F]`.
        test_labels: int64 `[m]`, >= 0.
        held_out: pairs `(rows that fit, rows that choose)` of the training examples, by which the penalty is chosen; by
            default one stratified tenth chooses.
        seed: of that choice.

    Returns:
        Accuracy in [0, 1], and a dict of the settings used: `l2` and the same as scikit-learn's `C`.
    """
    train_features, test_features = np.asarray(train_features, np.float32), np.asarray(test_features, np.float32)
    train_labels = splits.check("linear", train_labels, len(train_features))
    test_labels = splits.check("linear", test_labels, len(test_features))
    known, compact = np.unique(train_labels, return_inverse=True)
    if len(known) < 2:
        raise ValueError(f"linear: expected labels of two or more classes. Received: only {known[0]}.")
    if not np.isfinite(train_features).all():
        raise ValueError("linear: expected finite features. Received: NaN or infinity.")
    held_out = splits.hold_out(compact, seed) if held_out is None else held_out
    l2, nearby, rotation = chosen_l2(train_features, compact, held_out)
    standard = Standard(train_features)
    kernel, bias = Problem(standard(train_features), compact, len(known), rotation).solve(l2, nearby)
    predicted = known[_logits(standard(test_features), kernel, bias).argmax(axis=1)]
    return float((predicted == test_labels).mean()), {"l2": l2, "C": 1 / (len(train_labels) * l2)}
