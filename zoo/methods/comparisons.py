"""How a query is told apart from what is remembered: a softmax over the candidates, or one by one against noise."""

import keras
from keras import ops

from zoo import engine
from zoo.objectives import info_nce, nce


class Softmax:
    """Cross-entropy over the candidates, `info_nce.against_memory`: what PyContrast trains every method with.

    Args:
        population: not used; comparisons are made alike.
        name: not used.
    """

    def __init__(self, population=None, name="softmax"):
        del population, name

    def compare(self, query, candidates, temperature, replicas):
        """Loss per image, `[B]`, logs, and nothing to remember."""
        del replicas
        rows = query, candidates.positive, candidates.negatives
        return *info_nce.against_memory(*rows, temperature, candidates.allowed), ()

    def remember(self, seen):
        """Nothing to do."""


class NCE(keras.layers.Layer):
    """Noise-contrastive estimation whose normaliser Z follows the training, `nce.nce`.

    The first batch estimates Z, later ones move it: Z <- momentum * Z + (1 - momentum) * estimate, before it is used.

    Args:
        population: n, among how many images the candidates are drawn: the size of the bank or of the queue.
        momentum: in [0, 1]; 1 keeps the first estimate for ever, as InsDis and CMC do. That fails where the embeddings
            drift, as with a momentum encoder; 0.99 was found to mend it (thread 23 of the CMC repository).
        name: of the layer.
    """

    def __init__(self, population, momentum=0.99, name="nce"):
        super().__init__(name=name)
        if isinstance(population, bool) or not isinstance(population, int) or population < 1:
            raise ValueError(
                f"NCE: expected `population` to be a positive integer. Received: population={population!r}."
            )
        if not 0 <= momentum <= 1:
            raise ValueError(f"NCE: expected `momentum` in [0, 1]. Received: momentum={momentum!r}.")
        self.population, self.momentum = population, momentum
        kept = {"shape": (), "trainable": False, "autocast": False, "initializer": "zeros"}
        self.log_normalizer = self.add_weight(name="log_normalizer", **kept)
        self.estimates = self.add_weight(name="estimates", dtype="int32", **kept)
        self.built = True

    def compare(self, query, candidates, temperature, replicas):
        """Loss per image, `[B]`, logs, also `log_normalizer`, and that to remember."""
        rows = query, candidates.positive, candidates.negatives, temperature
        estimate = nce.log_partition(*rows, self.population, replicas, candidates.allowed)
        # Logarithms of the two shares of the sum; a share of nothing is minus infinity.
        old = engine.current().value(self.log_normalizer)
        shift = ops.maximum(old, estimate)
        moved = self.momentum * ops.exp(old - shift) + (1 - self.momentum) * ops.exp(estimate - shift)
        current = ops.where(engine.current().value(self.estimates) > 0, shift + ops.log(moved), estimate)
        loss, logs = nce.nce(*rows, current, self.population, candidates.allowed)
        return loss, {**logs, "log_normalizer": current}, current

    def remember(self, seen):
        """Keeps the normaliser of this step."""
        self.log_normalizer.assign(seen)
        self.estimates.assign(self.estimates + 1)
