"""Noise-contrastive estimation against a memory bank, as published for InsDis and CMC, or a softmax in its place."""

from typing import Any

import keras
import numpy as np
from keras import ops

from zoo import checks, engine, replicas
from zoo.objectives import info_nce, nce


class NCE(keras.layers.Layer):
    """The loss `zoo.objectives.nce.nce`, with a normalizer Z that is a running average of the batches' estimates.

    The first batch sets Z to its estimate; every later one updates Z before use, to
    momentum * Z + (1 - momentum) * estimate.

    Args:
        population: n, number of images from which candidates are drawn.
        momentum: share of the old Z in the new one, in [0, 1]. With 1, as in the papers, the first estimate stays
            forever, which fails when embeddings drift; 0.99 does not fail (issue 23 of the CMC repository).
        name: name of the layer.
    """

    def __init__(self, population: int, momentum: float = 0.99, name: str = "nce"):
        super().__init__(name=name)
        checks.integers("NCE", population=population)
        checks.fractions("NCE", momentum=momentum)
        self.population, self.momentum = population, momentum
        state: dict[str, Any] = {"shape": (), "trainable": False, "autocast": False, "initializer": "zeros"}
        self.log_normalizer = self.add_weight(name="log_normalizer", **state)
        self.estimates = self.add_weight(name="estimates", dtype="int32", **state)
        self.built = True

    def contrast(
        self, query: Any, positive: Any, negatives: Any, allowed: Any, temperature: float, group: replicas.Replicas
    ) -> tuple[Any, dict[str, Any], Any]:
        """Returns the loss `[B]`, scalars to log, and the logarithm of Z for `remember`.

        Arguments are those of `zoo.objectives.nce.nce`, plus `group`, the replicas.
        """
        rows = query, positive, negatives, temperature
        estimate = nce.log_partition(*rows, self.population, group, allowed)
        # The average is taken in the log domain, where Z cannot overflow.
        old = engine.current().value(self.log_normalizer)
        with np.errstate(divide="ignore"):
            share, rest = np.log(np.float32(self.momentum)), np.log(np.float32(1 - self.momentum))
        started = engine.current().value(self.estimates) > 0
        log_normalizer = ops.where(started, ops.logaddexp(old + share, estimate + rest), estimate)
        loss, logs = nce.nce(*rows, log_normalizer, self.population, allowed)
        return loss, {**logs, "log_normalizer": log_normalizer}, log_normalizer

    def remember(self, log_normalizer: Any) -> None:
        """Stores the logarithm of Z that this step used."""
        self.log_normalizer.assign(log_normalizer)
        self.estimates.assign(self.estimates + 1)


def contrast(
    estimator: NCE | None,
    query: Any,
    positive: Any,
    negatives: Any,
    allowed: Any,
    temperature: float,
    group: replicas.Replicas,
) -> tuple[Any, dict[str, Any], Any]:
    """Returns `estimator.contrast(...)` or, without an estimator, the softmax loss `[B]`, its logs and ()."""
    if estimator is not None:
        return estimator.contrast(query, positive, negatives, allowed, temperature, group)
    return *info_nce.against_memory(query, positive, negatives, temperature, allowed), ()
