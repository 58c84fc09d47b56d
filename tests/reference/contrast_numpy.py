"""NumPy transcriptions, in loops, of the contrastive losses and of the measures on the sphere."""

import numpy as np


def nt_xent(a, b, temperature):
    """Algorithm 1 of SimCLR: pairs at 2k-1 and 2k; returns the mean of the two directions per image, float64 [B]."""
    z = np.stack([a, b], axis=1).reshape(-1, a.shape[1]).astype(np.float64)
    count = len(z)
    similarity = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            similarity[i, j] = z[i] @ z[j] / (np.linalg.norm(z[i]) * np.linalg.norm(z[j]))

    def loss(i, j):
        others = [np.exp(similarity[i, k] / temperature) for k in range(count) if k != i]
        return -np.log(np.exp(similarity[i, j] / temperature) / np.sum(others))

    return np.array([(loss(2 * k, 2 * k + 1) + loss(2 * k + 1, 2 * k)) / 2 for k in range(count // 2)])


def uniformity(z):
    """Log of the mean over pairs i != j of exp(-2 |z_i - z_j|^2)."""
    potentials = [np.exp(-2 * np.sum((p - q) ** 2)) for i, p in enumerate(z) for j, q in enumerate(z) if i != j]
    return np.log(np.mean(potentials))


def effective_rank(z):
    """Exponential of the Shannon entropy of the normalized singular values."""
    values = np.linalg.svd(z.astype(np.float64), compute_uv=False)
    share = values / values.sum()
    share = share[share > 1e-12]
    return np.exp(-np.sum(share * np.log(share)))


def numeric_gradient(function, x, step=1e-5):
    """Central differences of a scalar function of one array."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (function(up) - function(down)) / (2 * step)
    return gradient
