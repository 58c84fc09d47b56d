"""Ranks of features, which predict transfer without labels: RankMe (Garrido et al., 2023,
https://arxiv.org/abs/2210.02885), LiDAR (Thilak et al., 2023, https://arxiv.org/abs/2312.04000) and alpha-ReQ (Agrawal
et al., 2022, "alpha-ReQ: Assessing representation quality in self-supervised learning by measuring eigenspectrum
decay").
"""

from typing import Any

import numpy as np
from keras import ops

from zoo import checks
from zoo.objectives import geometry

_TINY = 1e-12


def _floats(who, z, dimensions):
    """Returns features in float32, or float64 if they are, of the right number of dimensions."""
    shape = tuple(z.shape)
    expected = "features [n, q, D], q views of each image" if dimensions == 3 else "features [n, D]"
    checks.require(len(shape) == dimensions, who, f"{expected}, n > 1", shape=shape)
    checks.require(shape[0] is None or shape[0] > 1, who, f"{expected}, n > 1", shape=shape)
    return geometry.floats(z)


def rank_me(z: Any, epsilon: float = 1e-7) -> Any:
    """Returns RankMe, the exponential of the entropy of the singular values (Eq. 2).

    It is about 1 for features on a line and min(n, D) for orthogonal ones. It can only reach n, so that a comparison
    needs several hundred images, the same number every time; the paper takes 25,600. Without epsilon it is
    `geometry.effective_rank`.

    Args:
        z: features, `[n, D]`; not centered.
        epsilon: added to the share of every singular value.

    Returns:
        Scalar.
    """
    return geometry.smooth_rank(ops.svd(_floats("rank_me", z, 2), compute_uv=False), epsilon)


def lidar(z: Any, delta: float = 1e-4, epsilon: float = 1e-7) -> Any:
    """Returns LiDAR, the rank of what tells images apart relative to how their views differ (Section 4).

    The images are the classes of a linear discriminant analysis and the views their examples. Directions in which the
    views of an image differ as much as images do count little, so that noise does not raise this rank. It is at most
    min(n - 1, D). The paper takes 1,000 images in 50 views.

    Args:
        z: features, `[n, q, D]`: q views of each of n images; q > 1.
        delta: added to the variances within the images.
        epsilon: added to the share of every eigenvalue.

    Returns:
        Scalar.
    """
    z = _floats("lidar", z, 3)
    checks.require(z.shape[1] is None or z.shape[1] > 1, "lidar", "two views or more", views=z.shape[1])
    checks.positive("lidar", delta=delta)
    means = ops.mean(z, axis=1, keepdims=True)  # [n, 1, D]
    within = ops.reshape(z - means, (-1, z.shape[-1]))  # [n * q, D]
    covariance = ops.matmul(ops.transpose(within), within) / ops.cast(ops.shape(within)[0], z.dtype)  # [D, D]
    variances, axes = ops.linalg.eigh(covariance)  # [D], [D, D]
    whitening = axes / ops.sqrt(ops.maximum(variances, 0) + delta)  # [D, D]
    between = (means - ops.mean(means, axis=0, keepdims=True))[:, 0]  # [n, D]
    # Their squares are the eigenvalues of the paper's matrix, up to a factor, without the loss of squaring a matrix.
    values = ops.svd(ops.matmul(between, whitening), compute_uv=False)
    return geometry.smooth_rank(ops.square(values), epsilon)


def alpha_req(z: Any, first: int = 1, last: int | None = None) -> Any:
    """Returns alpha-ReQ, the exponent of the power law that the spectrum of the features follows.

    It is the negative slope of a least-squares line through the logarithms of the eigenvalues of the covariance over
    those of their numbers: 0 for equal variances, larger for features of fewer dimensions. Features that transfer well
    have about 1 in the paper.

    Args:
        z: features, `[n, D]`; n should be several times `last`, as the sample itself makes the last eigenvalues small.
        first: number of the first eigenvalue of the fit, from 1; the largest ones often leave the line.
        last: number of the last; by default all that n images in D dimensions can have.

    Returns:
        Scalar.
    """
    z = _floats("alpha_req", z, 2)
    most = min(z.shape[0] - 1, z.shape[1])
    last = most if last is None else last
    checks.integers("alpha_req", first=first, last=last)
    expected = f"`first` < `last` <= {most}, the number of eigenvalues"
    checks.require(first < last <= most, "alpha_req", expected, first=first, last=last)
    values = ops.svd(z - ops.mean(z, axis=0, keepdims=True), compute_uv=False)[first - 1 : last]
    logarithms = 2 * ops.log(ops.maximum(values, _TINY))  # of the eigenvalues, up to a constant
    numbers = np.log(np.arange(first, last + 1))
    weights = (numbers - numbers.mean()) / np.sum((numbers - numbers.mean()) ** 2)
    return -ops.sum(logarithms * ops.convert_to_tensor(weights, logarithms.dtype))
