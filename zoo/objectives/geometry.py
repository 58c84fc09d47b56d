"""Measures of embeddings on the sphere: alignment and uniformity (Wang & Isola, 2020,
https://arxiv.org/abs/2005.10242) and effective rank (Roy & Vetterli, 2007).
"""

from typing import Any

from keras import ops


def alignment(a: Any, b: Any) -> Any:
    """Returns the mean squared distance of the two views of an image.

    It is 0 if they coincide and 2 for orthogonal unit vectors.

    Args:
        a: unit vectors, `[B, D]`.
        b: unit vectors of the other view, `[B, D]`.

    Returns:
        Scalar.
    """
    return ops.mean(ops.sum(ops.square(a - b), axis=1))


def uniformity(z: Any) -> Any:
    """Returns the logarithm of the mean Gaussian potential over pairs of distinct images, with t = 2.

    Lower values are more uniform: 0 if all embeddings coincide, about -4 for the uniform distribution on a sphere of
    many dimensions.

    Args:
        z: unit vectors, `[B, D]`, B > 1.

    Returns:
        Scalar.
    """
    batch = ops.shape(z)[0]
    squared = ops.clip(2 - 2 * ops.matmul(z, ops.transpose(z)), 0, 4)  # [B, B]
    others = 1 - ops.eye(batch)  # [B, B]
    pairs = ops.cast(batch * (batch - 1), z.dtype)
    return ops.log(ops.sum(ops.exp(-2 * squared) * others) / pairs)


def effective_rank(z: Any) -> Any:
    """Returns the exponential of the entropy of the singular values, in [1, min(B, D)]; 1 for collapsed embeddings.

    Args:
        z: embeddings, `[B, D]`; not centered, so that a constant embedding has rank 1.

    Returns:
        Scalar.
    """
    # Singular values are the square roots of the eigenvalues of the Gram matrix, here of the smaller one.
    rows, columns = z.shape
    gram = ops.matmul(ops.transpose(z), z) if rows is None or columns <= rows else ops.matmul(z, ops.transpose(z))
    values = ops.sqrt(ops.maximum(ops.eigh(gram)[0], 0))
    share = values / ops.maximum(ops.sum(values), 1e-12)
    return ops.exp(-ops.sum(share * ops.log(ops.maximum(share, 1e-12))))


def measurements(a: Any, b: Any = None) -> dict[str, Any]:
    """Returns `uniformity` and `effective_rank` of embeddings, and `alignment` where there is a second view.

    Args:
        a: unit vectors, `[B, D]`.
        b: unit vectors of the other view, `[B, D]`, or None.
    """
    found = {"uniformity": uniformity(a), "effective_rank": effective_rank(a)}
    return found if b is None else {"alignment": alignment(a, b), **found}
