"""NumPy transcriptions, in float64 and by the papers' own formulas, of the ranks of features."""

import numpy as np


def smooth_rank(values, epsilon):
    """Exponential of the Shannon entropy of p_k = v_k / |v|_1 + epsilon."""
    p = values / np.abs(values).sum() + epsilon
    return np.exp(-np.sum(p * np.log(p)))


def rank_me(z, epsilon=1e-7):
    """Eq. 2 of RankMe."""
    return smooth_rank(np.linalg.svd(z.astype(np.float64), compute_uv=False), epsilon)


def lidar(z, delta=1e-4, epsilon=1e-7):
    """Section 4 of LiDAR: the eigenvalues of W^-1/2 B W^-1/2, with the covariances summed image by image."""
    z = z.astype(np.float64)
    images, views, width = z.shape
    center = z.mean(axis=(0, 1))
    between, within = np.zeros((width, width)), np.zeros((width, width))
    for image in z:
        mean = image.mean(axis=0)
        between += np.outer(mean - center, mean - center) / images
        for view in image:
            within += np.outer(view - mean, view - mean) / (images * views)
    values, axes = np.linalg.eigh(within + delta * np.eye(width))
    root = axes @ np.diag(values**-0.5) @ axes.T
    return smooth_rank(np.clip(np.linalg.eigvalsh(root @ between @ root), 0, None), epsilon)


def alpha_req(z, first=1, last=None):
    """Negative slope of log eigenvalue over log number, by a fit of NumPy."""
    values = np.sort(np.linalg.eigvalsh(np.cov(z.astype(np.float64).T)))[::-1]
    last = min(len(z) - 1, z.shape[1]) if last is None else last
    numbers = np.arange(first, last + 1)
    return -np.polyfit(np.log(numbers), np.log(values[first - 1 : last]), 1)[0]
