"""Batch normalization and its gradient, Ioffe and Szegedy (2015), Algorithm 1 and the formulas after it, in float64."""

import numpy as np


def forward(x, gamma, beta, epsilon=1e-5):
    """Normalized `[B, ..., C]`, mean `[C]` and unbiased variance `[C]`."""
    rows = x.reshape(-1, x.shape[-1]).astype("float64")
    mean = rows.sum(0) / len(rows)
    variance = ((rows - mean) ** 2).sum(0) / len(rows)
    y = gamma * (rows - mean) / np.sqrt(variance + epsilon) + beta
    return y.reshape(x.shape), mean, variance * len(rows) / (len(rows) - 1)


def backward(x, gamma, upstream, epsilon=1e-5):
    """Gradients with respect to x, gamma and beta."""
    shape, rows = x.shape, x.reshape(-1, x.shape[-1]).astype("float64")
    upstream = upstream.reshape(rows.shape).astype("float64")
    count = len(rows)
    mean, variance = rows.mean(0), rows.var(0)
    hat = upstream * gamma
    d_variance = (hat * (rows - mean)).sum(0) * -0.5 * (variance + epsilon) ** -1.5
    d_mean = -hat.sum(0) / np.sqrt(variance + epsilon) - d_variance * 2 * (rows - mean).sum(0) / count
    d_x = hat / np.sqrt(variance + epsilon) + d_variance * 2 * (rows - mean) / count + d_mean / count
    d_gamma = (upstream * (rows - mean) / np.sqrt(variance + epsilon)).sum(0)
    return d_x.reshape(shape), d_gamma, upstream.sum(0)
