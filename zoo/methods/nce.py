"""Noise-contrastive estimation against a memory, as InsDis and CMC were published, in place of the softmax."""

from typing import Any

import keras
from keras import ops

from zoo import checks, engine, replicas
from zoo.objectives import info_nce, nce


class NCE(keras.layers.Layer):
    """The loss `nce.nce` with a normalizer Z that follows the training.

    The first batch estimates Z, later ones move it before it is used: Z <- momentum * Z + (1 - momentum) * estimate.

    Args:
        population: n, number of images among which the candidates are drawn.
        momentum: in [0, 1]; 1 keeps the first estimate forever, as the papers do. That fails where embeddings drift,
            which 0.99 was found to mend (issue 23 of the CMC repository).
        name: of the layer.
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
        """Returns the loss `[B]`, logs (also `log_normalizer`), and the normalizer for `remember`.

        Args are those of `zoo.objectives.nce.nce`, and the replicas.
        """
        rows = query, positive, negatives, temperature
        estimate = nce.log_partition(*rows, self.population, group, allowed)
        # Logarithms of the two shares of the sum; a share of nothing is minus infinity.
        old = engine.current().value(self.log_normalizer)
        shift = ops.maximum(old, estimate)
        moved = self.momentum * ops.exp(old - shift) + (1 - self.momentum) * ops.exp(estimate - shift)
        started = engine.current().value(self.estimates) > 0
        log_normalizer = ops.where(started, shift + ops.log(moved), estimate)
        loss, logs = nce.nce(*rows, log_normalizer, self.population, allowed)
        return loss, {**logs, "log_normalizer": log_normalizer}, log_normalizer

    def remember(self, log_normalizer: Any) -> None:
        """Keeps the normalizer of this step."""
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
    """Returns what `NCE.contrast` does; without an estimator the softmax of `info_nce.against_memory`."""
    if estimator is not None:
        return estimator.contrast(query, positive, negatives, allowed, temperature, group)
    return *info_nce.against_memory(query, positive, negatives, temperature, allowed), ()
