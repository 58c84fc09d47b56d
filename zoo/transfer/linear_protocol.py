"""The protocol of a linear classifier, see `zoo.transfer.linear`."""

from typing import Any

import numpy as np

from zoo.transfer import linear, protocols


def protocol(
    model: Any, train: Any, test: Any, *, seed: int, features: protocols.Features
) -> list[protocols.Measurement]:
    """Returns the accuracy under the penalty that suits held-out training labels best.

    All labels take part in cross-validation. The interval holds Wilson's of every penalty that was within one standard
    error of the best.

    Args:
        model: see `protocols.Protocol`.
        train: a source with labels.
        test: a source with labels.
        seed: seed of the folds.
        features: see `protocols.Features`.
    """
    if len(np.unique(train.labels)) == train.size:
        reason = "the penalty is chosen by cross-validation, which takes at least 2 labels per class"
        return [protocols.Measurement("accuracy", None, None, test.size, {"reason": reason})]
    value, settings = linear.linear_accuracy(
        features(model, train), train.labels, features(model, test), test.labels, seed=seed
    )
    return [protocols.accuracy(value, test.size, settings, settings["accuracy_near"])]
