"""SupCon: all images of a class are positives; the other images of the batch are negatives.

Khosla et al., 2020, https://arxiv.org/abs/2004.11362
"""

from collections.abc import Callable
from typing import Any

from zoo import checks
from zoo.methods import method, simclr
from zoo.models import heads
from zoo.objectives import sup_con


class SupCon(simclr.SimCLR):
    """Supervised contrastive learning: SimCLR's networks with labels in the loss.

    Args:
        encoder: see `simclr.SimCLR`.
        projector: see `simclr.SimCLR`; the paper's has a hidden layer without batch norm.
        temperature: positive; 0.1 in the paper.
        smallest_class: least number of images of a class; a smaller class is refused.
        name: name of the model.
    """

    def __init__(
        self,
        encoder: Callable,
        projector: Callable = heads.projector,
        temperature: float = 0.1,
        smallest_class: int = 2,
        name: str | None = None,
    ):
        super().__init__(encoder, projector, temperature, name=name)
        checks.integers("SupCon", smallest_class=smallest_class)
        self.smallest_class = smallest_class

    def begin(self, spec: method.Spec) -> None:
        """Makes the encoder and its projector."""
        self.expect_labels(spec, self.smallest_class)
        super().begin(spec)

    def objective(self, first: Any, second: Any, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any]]:
        """Returns the supervised contrastive loss of two views' embeddings, unit vectors `[B, D]`, and its logs."""
        return sup_con.sup_con(first, second, batch.label, self.temperature, step.replicas)
