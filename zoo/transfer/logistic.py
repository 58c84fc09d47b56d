"""Multinomial logistic regression with a penalty on the kernel, by L-BFGS.

Minimizes mean cross-entropy + l2 / 2 * |kernel|^2; scikit-learn's C is 1 / (n * l2).

Two changes of variables keep the minimum and need fewer steps: features are rotated onto their principal axes (which
also leaves at most n of them), and each axis is scaled by the curvature of the loss along it where all classes are
equally likely (Böhning, 1992, "Multinomial logistic regression algorithm").
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
import tensorflow as tf
import threadpoolctl

from zoo import checks

# Features of at most this many numbers are fitted by NumPy in double precision, as are those of fewer examples than
# features, which can be separated and then need it; others are fitted by TensorFlow in single precision.
_SMALL = 2**20


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


Solution = tuple[np.ndarray, np.ndarray]  # kernel, along features [F, K] or axes [A, K], and bias [K]


class Problem:
    """Logistic regression on one set of examples, which can be solved under several penalties.

    Args:
        features: `[n, F]`, standardized.
        labels: int64 `[n]` in [0, classes).
        classes: number of classes, K >= 2.
        rotation: orthogonal `[F, F]` that replaces the principal axes, which need not be exact. A rotation of another
            shape is ignored: one from fewer examples than features does not span all features.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, classes: int, rotation: np.ndarray | None = None):
        count, width = features.shape
        small = count <= width or count * width <= _SMALL
        features = tf.constant(features, tf.float64 if small else tf.float32)
        if rotation is None or rotation.shape != (width, width):
            rotation = _principal_axes(features)
        axes = tf.transpose(tf.matmul(features, tf.constant(rotation, features.dtype)))  # [A, n]
        self.rotation = rotation  # [F, A]
        self._curvature = tf.reduce_mean(tf.square(axes), axis=1).numpy().astype(np.float64) / classes  # [A]
        self._axes = axes.numpy() if small else axes
        self._targets = np.eye(classes, dtype=np.float64 if small else np.float32)[labels]  # [n, K]
        self.size, self.is_large = count, not small

    def solve(
        self, l2: float, start: Solution | None = None, tolerance: float = 1e-5, iterations: int = 2000
    ) -> Solution:
        """Returns the minimum under one penalty.

        L-BFGS stops once no entry of the gradient, on the scaled axes, exceeds the tolerance times the root of the
        objective, or the tolerance where the objective is above 1. The curvature falls with the objective, so that
        without the root a fit of separable examples would end far from its minimum. L-BFGS stops earlier where a step
        lowers the objective by less than it is rounded. In single precision that may happen at about 1e-5, and no
        entry below this is asked for.

        Args:
            l2: positive float.
            start: `(kernel, bias)` from which to begin; zeros by default.
            tolerance: largest entry of the gradient, see above.
            iterations: maximum number of iterations.

        Returns:
            Kernel float64 `[F, K]` and bias float64 `[K]`.

        Raises:
            ValueError: the penalty is not positive.
        """
        checks.positive("linear", l2=l2)
        if start is not None:
            start = self.rotation.T @ start[0], start[1]
        kernel, bias = self._part(slice(None)).solve(l2, start, tolerance, iterations)
        return self.rotation @ kernel, bias

    def held_out(
        self, l2: float, pairs: Sequence[tuple[np.ndarray, np.ndarray]], starts: Sequence[Any]
    ) -> tuple[np.ndarray, list[Solution]]:
        """Returns the mean Brier score of each example that is held out, `[m]`, and where the fits ended.

        Args:
            l2: positive float.
            pairs: `(rows to fit, rows to choose by)`.
            starts: what an earlier call returned, or None for each pair.
        """
        totals, counts, ends = np.zeros(self.size), np.zeros(self.size, int), []
        # The parts are selected again for every penalty: copies of all would need several times the memory.
        for (fitting, choosing), start in zip(pairs, starts, strict=True):
            ends.append(self._part(fitting).solve(l2, start, tolerance=3e-4, iterations=200))
            held = self._part(choosing)
            totals[choosing] += np.square(np.exp(held.log_odds(ends[-1])) - held.targets).sum(axis=1)
            counts[choosing] += 1
        return totals[counts > 0] / counts[counts > 0], ends

    def _part(self, rows: Any) -> "_Part":
        if isinstance(self._axes, np.ndarray):
            return _Part(self._axes[:, rows], self._targets[rows], self._curvature, _small)
        axes = self._axes if isinstance(rows, slice) else tf.gather(self._axes, rows, axis=1)
        return _Part(axes, tf.constant(self._targets[rows]), self._curvature, _large)


@dataclasses.dataclass
class _Part:
    """Some examples of a problem, along its axes, and the objective to minimize."""

    axes: Any  # [A, n]
    targets: Any  # one-hot, [n, K]
    curvature: np.ndarray  # [A]
    objective: Any

    def solve(self, l2: float, start: Solution | None, tolerance: float, iterations: int) -> Solution:
        """Returns the minimum, see `Problem.solve`, with kernels along the axes, `[A, K]`."""
        classes = self.targets.shape[1]
        scale = 1 / np.sqrt(self.curvature + l2)[:, None]  # [A, 1]
        bias_scale = np.sqrt(classes)  # the same for the bias, whose feature is the constant 1
        shape = (len(scale) + 1, classes)
        finest = tolerance if self.objective is _large else 0.0
        steepest = math.inf  # entry of the gradient at the last point

        def value_and_gradient(flat):
            nonlocal steepest
            point = flat.reshape(shape)
            kernel = point[:-1] * scale
            loss, by_kernel, by_bias = self.objective(kernel, point[-1] * bias_scale, self.axes, self.targets)
            by_kernel = (np.asarray(by_kernel) + l2 * kernel) * scale
            gradient = np.concatenate([by_kernel, np.asarray(by_bias)[None] * bias_scale])
            steepest = np.abs(gradient).max()
            return float(loss) + 0.5 * l2 * np.square(kernel).sum(), gradient.ravel()

        def stop(intermediate_result):
            if steepest <= max(finest, tolerance * math.sqrt(min(1.0, intermediate_result.fun))):
                raise StopIteration

        options = {"maxiter": iterations, "maxfun": 2 * iterations, "gtol": 0, "ftol": 1e-16}
        first = np.zeros(shape)
        if start is not None:
            first = np.concatenate([start[0] / scale, start[1][None] / bias_scale])
        with _one_blas_thread():
            found = scipy.optimize.minimize(
                value_and_gradient, first.ravel(), jac=True, method="L-BFGS-B", options=options, callback=stop
            )
        point = found.x.reshape(shape)
        return point[:-1] * scale, point[-1] * bias_scale

    def log_odds(self, solution: Solution) -> np.ndarray:
        """Returns the logarithms of the predicted probabilities, float64 `[n, K]`."""
        kernel, bias = solution
        logits = np.asarray(tf.matmul(self.axes, tf.cast(kernel, self.axes.dtype), transpose_a=True), np.float64) + bias
        return scipy.special.log_softmax(logits, axis=1)


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    l2: float,
    start: Solution | None = None,
    tolerance: float = 1e-5,
    iterations: int = 2000,
) -> Solution:
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
