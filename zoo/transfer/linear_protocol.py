"""The protocol of a linear classifier, see `zoo.transfer.linear`."""

from typing import Any

import numpy as np

from zoo.transfer import linear, protocols, splits


def protocol(
    model: Any, train: Any, test: Any, *, seed: int, features: protocols.Features
) -> list[protocols.Measurement]:
    """Returns the accuracy under the penalty that suits held-out training labels best.

    A tenth of the labels is held out; if there are few, all of them take part in cross-validation.

    Args:
        model: see `protocols.Protocol`.
        train: a source with labels.
        test: a source with labels.
        seed: seed of the choice of held-out labels.
        features: see `protocols.Features`.
    """
    if len(np.unique(train.labels)) == train.size:
        reason = "the penalty is chosen by cross-validation, which takes at least 2 labels per class"
        return [protocols.Measurement("accuracy", None, None, test.size, {"reason": reason})]
    held_out = (splits.folds if splits.few(train.labels) else splits.hold_out)(train.labels, seed)
    value, settings = linear.linear_accuracy(
        features(model, train), train.labels, features(model, test), test.labels, held_out=held_out
    )
    return [protocols.accuracy(value, test.size, settings)]
