"""CMC: every tower encodes a different view of an image, and is contrasted with the memory banks of other towers.

Tian et al., 2019, https://arxiv.org/abs/1906.05849
"""

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from zoo.methods import memory, method, nce, networks, towers
from zoo.models import heads


class CMC(towers.Method):
    """Two or more towers, each with a memory bank.

    Args:
        encoders: pairs (name, factory of a network `[B, H, W, C] -> [B, F]`), one per tower.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        temperature: divides the similarities; positive.
        pairs: which towers are contrasted, in both directions (Section 3.4): "full" for all pairs, "core" for the first
            tower with every other one. Losses are summed over the pairs.
        num_candidates: K, number of other images that each query is compared with.
        bank_momentum: share of the old embedding in the updated row, in [0, 1].
        per_image: whether candidates are drawn separately for every query; otherwise once for the whole batch.
        estimator: factory of the noise-contrastive estimator of the paper, `nce.NCE`; None for a softmax.
        joined: names of towers that take the same image and whose features the encoder `joined` concatenates. By
            default, all towers if they share a view, and none otherwise.
        name: name of the model.
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
        super().__init__(encoders, projector, temperature, pairs, joined, name)
        self.make_estimator = estimator
        self.num_candidates, self.bank_momentum, self.per_image = num_candidates, bank_momentum, per_image

    def begin(self, spec: method.Spec) -> None:
        """Makes the towers and their banks; there is one view per tower, or one view that all towers share."""
        self.networks = self.towers.build(spec.view_shapes)
        self.banks = [
            memory.MemoryBank(spec.ids, network.width, self.bank_momentum, name=f"bank{number}")
            for number, network in enumerate(self.networks)
        ]
        self.banks[0].check_candidates(self.num_candidates, self.per_image)
        make = self.make_estimator or (lambda population, name: None)
        numbers, size = range(len(self.towers.pairs)), self.banks[0].size
        self.estimators = [make(population=size, name=f"nce{number}") for number in numbers]

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the sum of the pairs' losses: queries of one tower against the memory bank of the other."""
        queries = self.towers.embed(self.networks, batch.views, training=True)  # M of [B, D]
        candidates = [bank.candidates(batch.id, self.num_candidates, self.per_image) for bank in self.banks]
        compared = [
            nce.contrast(estimator, queries[i], *candidates[j], self.temperature, step.replicas)
            for (i, j), estimator in zip(self.towers.pairs, self.estimators, strict=True)
        ]
        losses, logs, normalizers = zip(*compared, strict=True)
        return sum(losses), {**networks.mean_logs(logs), **memory.visits(step)}, (batch.id, queries, normalizers)

    def remember(self, seen: Any, step: method.Step) -> None:
        """Moves the images' rows of the banks toward their new embeddings."""
        ids, (_, queries, normalizers) = step.replicas.gather(seen[0]), seen
        for bank, query in zip(self.banks, queries, strict=True):
            bank.update(ids, ops.stop_gradient(step.replicas.gather(query)))
        for estimator, normalizer in zip(self.estimators, normalizers, strict=True):
            if estimator:
                estimator.remember(normalizer)
