"""Regression of unit vectors, for methods without negatives."""

from typing import Any

from keras import ops


def squared_distance(predicted: Any, target: Any) -> Any:
    """Returns the squared distance of unit vectors, `2 - 2 cos`: BYOL (Grill et al., 2020), Eq. 2.

    SimSiam's negative cosine similarity is half of it, less 1.

    Args:
        predicted: unit vectors, `[B, D]`.
        target: unit vectors, `[B, D]`; no gradient flows through them.

    Returns:
        Loss of each image, `[B]` float32 in [0, 4].
    """
    predicted, target = ops.cast(predicted, "float32"), ops.stop_gradient(ops.cast(target, "float32"))
    return 2 - 2 * ops.sum(predicted * target, axis=1)
