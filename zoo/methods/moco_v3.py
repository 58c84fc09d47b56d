"""MoCo v3: predictions of a view against the keys of the batch's other view; no queue.

Chen, Xie and He, 2021, https://arxiv.org/abs/2104.02057
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from zoo import checks
from zoo.methods import byol, method, networks
from zoo.models import heads
from zoo.objectives import info_nce


class MoCoV3(byol.BYOL):
    """BYOL's networks with a contrastive loss, whose negatives are the keys of the other images of the global batch.

    Args:
        encoder: see `byol.BYOL`.
        projector: see `byol.BYOL`.
        predictor: see `byol.BYOL`.
        temperature: positive; 1.0 for ResNet-50 and 0.2 for vision transformers in the authors' settings.
        momentum: see `byol.BYOL`; 0.99 for 100 and 300 epochs, 0.996 for 1,000.
        name: name of the model.
    """

    def __init__(
        self,
        encoder: Callable,
        projector: Callable = heads.projector,
        predictor: Callable = heads.predictor,
        temperature: float = 1.0,
        momentum: float = 0.99,
        name: str | None = None,
    ):
        super().__init__(encoder, projector, predictor, momentum, name)
        checks.positive("MoCoV3", temperature=temperature)
        self.temperature = temperature

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the InfoNCE loss times twice the temperature, summed over the two directions."""
        queries = [self.predictor(self.online.project(view, training=True), training=True) for view in batch.views]
        own = [ops.stop_gradient(self.target(view, training=True)) for view in batch.views[:2]]  # 2 of [B, D]
        keys = [(key, step.replicas.gather(key)) for key in own]
        others = batch.id[:, None] != step.replicas.gather(batch.id)[None]  # [B, N]

        def objective(query, keys):
            return info_nce.against_memory(query, *keys, self.temperature, others)

        loss, logs = networks.averaged(objective, networks.across(queries, keys))
        return 4 * self.temperature * loss, logs, ()
