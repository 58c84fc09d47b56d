"""CMC: each tower sees another view of an image, and finds the image in the memory bank of every other tower.

Tian et al., 2019, https://arxiv.org/abs/1906.05849
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from zoo import checks
from zoo.methods import memory, method, nce, towers
from zoo.models import heads
from zoo.objectives import geometry


class CMC(method.Method):
    """Two towers or more, with a memory bank each.

    Args:
        encoders: pairs (name, factory of a network `[B, H, W, C] -> [B, F]`), one per tower.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        temperature: positive.
        pairs: which towers are contrasted, both ways (Section 3.4): "full" for all pairs, "core" for the first tower
            with every other. Losses are summed over the pairs.
        num_candidates: K, other images that a query is compared with.
        bank_momentum: share of the old embedding in the new one, in [0, 1].
        per_image: whether every query has candidates of its own, or a batch shares them.
        estimator: factory of a noise-contrastive estimator, `nce.NCE`, as in the paper; a softmax if None.
        joined: names of towers that take the same image, whose features are concatenated in the encoder `joined`; by
            default all where they share a view, none otherwise.
        name: of the model.
    """

    def __init__(
        self,
        encoders: Sequence[tuple[str, Callable]],
        projector: Callable = heads.projector,
        temperature: float = 0.07,
        pairs: str = "full",
        num_candidates: int = 4096,
        bank_momentum: float = 0.5,
        per_image: bool = True,
        estimator: Callable | None = None,
        joined: Sequence[str] | None = None,
        name: str | None = None,
    ):
        super().__init__(name)
        checks.positive("CMC", temperature=temperature)
        self.towers = towers.Towers(encoders, projector, pairs, joined)
        self.temperature, self.make_estimator = temperature, estimator
        self.num_candidates, self.bank_momentum, self.per_image = num_candidates, bank_momentum, per_image

    def begin(self, spec: method.Spec) -> None:
        """Makes the towers and their banks, for one view that all towers share, or one view for each."""
        self.networks = self.towers.build(spec.view_shapes)
        self.banks = [
            memory.MemoryBank(spec.ids, network.width, self.bank_momentum, name=f"bank{number}")
            for number, network in enumerate(self.networks)
        ]
        self.banks[0].check_candidates(self.num_candidates, self.per_image)
        make = self.make_estimator or (lambda population, name: None)
        names = [f"nce{number}" for number in range(len(self.towers.pairs))]
        self.estimators = [make(population=self.banks[0].size, name=name) for name in names]

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Sums the losses of the pairs: queries of one tower against the memory bank of the other."""
        queries = self.towers.embed(self.networks, batch.views, training=True)  # [B, D] each
        candidates = [bank.candidates(batch.id, self.num_candidates, self.per_image) for bank in self.banks]
        compared = [
            nce.contrast(estimator, queries[i], *candidates[j], self.temperature, step.replicas)
            for (i, j), estimator in zip(self.towers.pairs, self.estimators, strict=True)
        ]
        losses, logs, normalizers = zip(*compared, strict=True)
        return sum(losses), towers.mean_logs(logs), (batch.id, queries, normalizers)

    def remember(self, seen: Any, step: method.Step) -> None:
        """Moves the rows of the images."""
        ids, queries, normalizers = seen
        ids = step.replicas.gather(ids)
        for bank, query in zip(self.banks, queries, strict=True):
            bank.update(ids, ops.stop_gradient(step.replicas.gather(query)))
        for estimator, normalizer in zip(self.estimators, normalizers, strict=True):
            if estimator:
                estimator.remember(normalizer)

    def watch(self, batch: method.Batch) -> dict[str, Any]:
        """Measures alignment of the first two towers, and uniformity and rank of the first."""
        return geometry.measurements(*self.towers.embed(self.networks, batch.views)[:2])

    def encoders(self) -> dict[str, keras.Model]:
        """Returns `joined`, if towers are, and the encoder of every tower."""
        return self.towers.encoders(self.networks)
