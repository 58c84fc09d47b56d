"""Exemplar: MoCo whose queue knows the classes of its keys and whose negatives all come from other classes.

Zhao et al., 2020, https://arxiv.org/abs/2006.06606; with same-class keys as positives it is UniMoCo (Dai et al., 2021,
https://arxiv.org/abs/2103.10773)
"""

from collections.abc import Callable
from typing import Any

from zoo import checks, engine
from zoo.methods import method, moco
from zoo.models import heads
from zoo.objectives import exemplar

LOSSES = {"own": exemplar.exemplar, "class": exemplar.unified}


class Exemplar(moco.MoCo):
    """Exemplar v1; MoCo v2's head, temperature and augmentation make it v2.

    Args:
        encoder: see `moco.MoCo`.
        projector: see `moco.MoCo`.
        temperature: see `moco.MoCo`.
        queue_size: see `moco.MoCo`.
        momentum: see `moco.MoCo`.
        bn_groups: see `moco.MoCo`.
        positives: "own" for the key of the image itself, as in the paper; keys of its class are then neither positives
            nor negatives. "class" for all keys of its class, UniMoCo.
        smallest_class: least number of images of a class; a smaller class is refused.
        name: name of the model.
    """

    labeled = True

    def __init__(
        self,
        encoder: Callable,
        projector: Callable = heads.projector,
        temperature: float = 0.07,
        queue_size: int = 65536,
        momentum: float = 0.999,
        bn_groups: int = 8,
        positives: str = "own",
        smallest_class: int = 2,
        name: str | None = None,
    ):
        super().__init__(encoder, projector, temperature, queue_size, momentum, bn_groups, name)
        checks.one_of("Exemplar", "positives", positives, tuple(LOSSES))
        checks.integers("Exemplar", smallest_class=smallest_class)
        self.positives, self.smallest_class = positives, smallest_class

    def begin(self, spec: method.Spec) -> None:
        """Makes the encoders of MoCo, and a queue with labels."""
        self.expect_labels(spec, self.smallest_class)
        super().begin(spec)

    def against_queue(self, query: Any, key: Any, batch: method.Batch) -> tuple[Any, dict[str, Any]]:
        """Returns the loss of queries against their keys and the queue's keys of other classes, `[B]`, and its logs."""
        negatives, allowed = self.queue.negatives(batch.id)  # [K, D], [B, K]
        same = exemplar.same_class(batch.label, engine.current().value(self.queue.labels))  # [B, K]
        return LOSSES[self.positives](query, key, negatives, same, self.temperature, allowed)
