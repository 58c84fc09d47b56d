"""The protocol of weighted nearest neighbors, see `zoo.transfer.knn`."""

from typing import Any

from zoo.transfer import knn, protocols, splits

# The paper's number of neighbors, and the least number of training images that it suits.
K, K_FROM = 200, 10_000


def protocol(
    model: Any, train: Any, test: Any, *, seed: int, features: protocols.Features
) -> list[protocols.Measurement]:
    """Returns the accuracy with the paper's number of neighbors, or one chosen on the training labels if they are few.

    Args:
        model: see `protocols.Protocol`.
        train: a source with labels.
        test: a source with labels.
        seed: not used; nothing is random.
        features: see `protocols.Features`.
    """
    del seed
    k = None if splits.few(train.labels) or train.size < K_FROM else K
    value, settings = knn.knn_accuracy(features(model, train), train.labels, features(model, test), test.labels, k=k)
    return [protocols.accuracy(value, test.size, settings)]
