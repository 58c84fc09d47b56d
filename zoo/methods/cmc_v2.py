"""CMC v2: CMC with momentum encoders and queues in place of memory banks, as in PyContrast.

CMC: Tian et al., 2019, https://arxiv.org/abs/1906.05849; PyContrast: https://github.com/HobbitLong/PyContrast
"""

from collections.abc import Callable, Sequence
from typing import Any

from zoo import checks, context
from zoo.methods import memory, method, networks, towers
from zoo.models import heads
from zoo.objectives import info_nce


class CMCv2(towers.Method):
    """Two or more towers, each with a momentum encoder and a queue of keys, as in `moco.MoCo`.

    Args:
        encoders: pairs (name, factory of a network `[B, H, W, C] -> [B, F]`), one per tower.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        temperature: divides the similarities; positive.
        pairs: "full" or "core", see `cmc.CMC`.
        queue_size: K, number of keys in every queue.
        momentum: share of the old weights in every update of the key encoders, in [0, 1].
        bn_groups: number of groups of batch norm, see `moco.MoCo`.
        joined: names of towers whose features are concatenated, see `cmc.CMC`.
        name: name of the model.
    """

    sides = 2

    def __init__(
        self,
        encoders: Sequence[tuple[str, Callable]],
        projector: Callable = heads.projector,
        temperature: float = 0.2,
        pairs: str = "full",
        queue_size: int = 65536,
        momentum: float = 0.999,
        bn_groups: int = 8,
        joined: Sequence[str] | None = None,
        name: str | None = None,
    ):
        super().__init__(encoders, projector, temperature, pairs, joined, name)
        self.queue_size, self.momentum, self.bn_groups = queue_size, momentum, bn_groups

    def begin(self, spec: method.Spec) -> None:
        """Makes towers, key encoders and queues; the first half of the views is for queries, the second for keys."""
        expected = "as many views of keys as of queries"
        checks.require(len(spec.view_shapes) % 2 == 0, "CMCv2", expected, views=len(spec.view_shapes))
        half = len(spec.view_shapes) // 2
        self.networks = self.towers.build(spec.view_shapes[:half])
        copies = self.towers.build(spec.view_shapes[half:], suffix="_key")
        self.key_encoders, self.queues = [], []
        for number, (network, copy) in enumerate(zip(self.networks, copies, strict=True)):
            names = f"momentum_encoder{number}", f"queue{number}"
            self.key_encoders.append(
                memory.MomentumEncoder(copy, network, self.momentum, self.bn_groups, name=names[0])
            )
            self.queues.append(memory.MomentumQueue(self.queue_size, network.width, name=names[1]))
        for part in (self.key_encoders[0], self.queues[0]):
            part.check(spec)

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the sum of the pairs' losses: queries of one tower against the keys and the queue of the other."""
        half = len(batch.views) // 2
        with context.using(bn_groups=self.bn_groups):
            queries = self.towers.embed(self.networks, batch.views[:half], training=True)  # M of [B, D]
        key_views = self.towers.spread(batch.views[half:])
        encoded = [
            encoder.encode(view, step.replicas) for encoder, view in zip(self.key_encoders, key_views, strict=True)
        ]  # M of ([B, D], [N, D])
        compared = []
        for i, j in self.towers.pairs:
            negatives, allowed = self.queues[j].negatives(batch.id)  # [K, D], [B, K]
            rows = queries[i], encoded[j][0], negatives
            compared.append(info_nce.against_memory(*rows, self.temperature, allowed))
        losses, logs = zip(*compared, strict=True)
        seen = [keys for _, keys in encoded], step.replicas.gather(batch.id)
        return sum(losses), networks.mean_logs(logs), seen

    def remember(self, seen: Any, step: method.Step) -> None:
        """Pushes the keys into the queues and moves the key encoders toward the towers."""
        keys, ids = seen
        for queue, rows, encoder in zip(self.queues, keys, self.key_encoders, strict=True):
            queue.push(rows, ids)
            encoder.update()
