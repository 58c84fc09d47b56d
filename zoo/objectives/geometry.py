"""Measures of embeddings on the sphere: alignment and uniformity (Wang & Isola, 2020,
https://arxiv.org/abs/2005.10242) and effective rank (Roy & Vetterli, 2007).
"""

from typing import Any

import keras
from keras import ops

_TINY = 1e-12


def floats(z: Any) -> Any:
    """Returns embeddings in float32, or in float64 if they are; half precision would round the measures."""
    return z if keras.backend.standardize_dtype(z.dtype) == "float64" else ops.cast(z, "float32")


def alignment(a: Any, b: Any) -> Any:
    """Returns the mean squared distance of the two views of an image.

    It is 0 if they coincide and 2 for orthogonal unit vectors.

    Args:
        a: unit vectors, `[B, D]`.
        b: unit vectors of the other view, `[B, D]`.

    Returns:
        Scalar.
    """
    return ops.mean(ops.sum(ops.square(floats(a) - floats(b)), axis=1))


def uniformity(z: Any) -> Any:
    """Returns the logarithm of the mean Gaussian potential over pairs of distinct images, with t = 2.

    Lower values are more uniform: 0 if all embeddings coincide, at zero, too; about -4 for the uniform distribution on
    a sphere of many dimensions.

    Args:
        z: unit vectors, `[B, D]`, B > 1.

    Returns:
        Scalar.
    """
    z = floats(z)
    batch = ops.shape(z)[0]
    lengths = ops.sum(ops.square(z), axis=1)  # [B], 0 for a network whose outputs are all zero
    squared = ops.maximum(lengths[:, None] + lengths[None] - 2 * ops.matmul(z, ops.transpose(z)), 0)  # [B, B]
    others = 1 - ops.eye(batch, dtype=z.dtype)  # [B, B]
    pairs = ops.cast(batch * (batch - 1), z.dtype)
    return ops.log(ops.sum(ops.exp(-2 * squared) * others) / pairs)


def effective_rank(z: Any) -> Any:
    """Returns the exponential of the entropy of the singular values, in [1, min(B, D)]; 1 for collapsed embeddings.

    Args:
        z: embeddings, `[B, D]`; not centered, so that a constant embedding has rank 1.

    Returns:
        Scalar.
    """
    # Not by the eigenvalues of the Gram matrix: the square root would raise their rounding errors to 3e-4.
    return smooth_rank(ops.svd(floats(z), compute_uv=False))


def smooth_rank(values: Any, epsilon: float = 0.0) -> Any:
    """Returns the exponential of the entropy of values relative to their sum, in [1, k].

    Args:
        values: singular values or eigenvalues, `[k]`, not negative.
        epsilon: added to the share of every value.
    """
    share = values / ops.maximum(ops.sum(values), _TINY) + epsilon
    return ops.exp(-ops.sum(share * ops.log(ops.maximum(share, _TINY))))


def view_accuracy(a: Any, b: Any) -> Any:
    """Returns the share of images whose second view is nearer to their first than those of all other images are.

    It is 1 / B for unrelated embeddings, and 0 if all embeddings coincide, since ties are no hits.

    Args:
        a: unit vectors, `[B, D]`.
        b: unit vectors of the other view, `[B, D]`.

    Returns:
        Scalar.
    """
    a, b = floats(a), floats(b)
    similarity = ops.matmul(a, ops.transpose(b))  # [B, B]
    itself = ops.eye(ops.shape(a)[0], dtype=a.dtype)  # [B, B]
    others = ops.max(similarity - 4 * itself, axis=1)  # [B]; two similarities differ by at most 2
    hits = ops.sum(similarity * itself, axis=1) - others > 1e-6
    return ops.mean(ops.cast(hits, a.dtype))


def measurements(a: Any, b: Any = None) -> dict[str, Any]:
    """Returns `uniformity` and `effective_rank`, and where there is a second view, `alignment` and `view_accuracy`.

    Args:
        a: unit vectors, `[B, D]`.
        b: unit vectors of the other view, `[B, D]`, or None.
    """
    found = {"uniformity": uniformity(a), "effective_rank": effective_rank(a)}
    return found if b is None else {"alignment": alignment(a, b), "view_accuracy": view_accuracy(a, b), **found}
