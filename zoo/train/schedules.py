"""Schedules of the learning rate: linear warm-up and cosine decay, scaled with the batch size."""

import dataclasses
import math

import keras

from zoo import checks

SCALINGS = {
    "linear": lambda base, batch: base * batch / 256,  # Goyal et al., 2017; SimCLR's 0.3 * B / 256
    "sqrt": lambda base, batch: base * math.sqrt(batch),  # SimCLR, Appendix B.1: 0.075 * sqrt(B)
    "none": lambda base, batch: base,
}


@dataclasses.dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up from zero, then cosine decay to zero without restarts (SimCLR, Section 2.2).

    Args:
        base: learning rate before scaling, positive.
        scaling: how the rate grows with the size B of the global batch: "linear" (base * B / 256), "sqrt"
            (base * sqrt(B)) or "none".
        warmup_epochs: length of the warm-up in epochs, not necessarily an integer.
    """

    base: float = 0.3
    scaling: str = "linear"
    warmup_epochs: float = 10

    def __post_init__(self):
        checks.positive("WarmupCosine", base=self.base)
        checks.one_of("WarmupCosine", "scaling", self.scaling, tuple(SCALINGS))
        checks.non_negative("WarmupCosine", warmup_epochs=self.warmup_epochs)

    def __call__(
        self, batch_size: int, steps: int, steps_per_epoch: int
    ) -> keras.optimizers.schedules.LearningRateSchedule:
        """Returns the schedule of a run of `steps` steps."""
        peak = SCALINGS[self.scaling](self.base, batch_size)
        warmup = round(self.warmup_epochs * steps_per_epoch)
        expected = f"`warmup_epochs` that end before the run of {steps} steps"
        checks.require(warmup < steps, "WarmupCosine", expected, warmup_epochs=self.warmup_epochs, warmup_steps=warmup)
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(peak, steps)
        return keras.optimizers.schedules.CosineDecay(0.0, steps - warmup, warmup_target=peak, warmup_steps=warmup)
