"""Schedules of the learning rate, scaled with the batch size: warm-up and cosine decay, or steps."""

import dataclasses
import math
from collections.abc import Sequence

import keras

from zoo import checks

SCALINGS = {
    "linear": lambda base, batch: base * batch / 256,  # Goyal et al., 2017; SimCLR's 0.3 * B / 256
    "sqrt": lambda base, batch: base * math.sqrt(batch),  # SimCLR, Appendix B.1: 0.075 * sqrt(B)
    "none": lambda base, batch: base,
}


@dataclasses.dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up, then cosine decay without restarts, from zero to zero in SimCLR (Section 2.2).

    Args:
        base: learning rate before scaling, positive.
        scaling: how the rate grows with the size B of the global batch: "linear" (base * B / 256), "sqrt"
            (base * sqrt(B)) or "none".
        warmup_epochs: length of the warm-up in epochs, not necessarily an integer.
        first: rate before the first step of a warm-up, as a fraction of the peak, in [0, 1].
        last: rate after the last step, as a fraction of the peak, in [0, 1].
    """

    base: float = 0.3
    scaling: str = "linear"
    warmup_epochs: float = 10
    first: float = 0.0
    last: float = 0.0

    def __post_init__(self):
        checks.positive("WarmupCosine", base=self.base)
        checks.one_of("WarmupCosine", "scaling", self.scaling, tuple(SCALINGS))
        checks.non_negative("WarmupCosine", warmup_epochs=self.warmup_epochs)
        checks.fractions("WarmupCosine", first=self.first, last=self.last)

    def __call__(
        self, batch_size: int, steps: int, steps_per_epoch: int
    ) -> keras.optimizers.schedules.LearningRateSchedule:
        """Returns the schedule of a run of `steps` steps."""
        peak = SCALINGS[self.scaling](self.base, batch_size)
        warmup = round(self.warmup_epochs * steps_per_epoch)
        expected = f"`warmup_epochs` that end before the run of {steps} steps"
        checks.require(warmup < steps, "WarmupCosine", expected, warmup_epochs=self.warmup_epochs, warmup_steps=warmup)
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(peak, steps, alpha=self.last)
        return keras.optimizers.schedules.CosineDecay(
            self.first * peak, steps - warmup, alpha=self.last, warmup_target=peak, warmup_steps=warmup
        )


@dataclasses.dataclass(frozen=True)
class Steps:
    """A rate that falls by a factor at some epochs (MoCo, PCL and InsDis on ImageNet).

    Args:
        base: learning rate before scaling, positive.
        scaling: as for `WarmupCosine`.
        epochs: numbers of completed epochs after which the rate falls, increasing.
        factor: of the rate at each of them, positive.
    """

    base: float = 0.03
    scaling: str = "linear"
    epochs: Sequence[float] = (120, 160)
    factor: float = 0.1

    def __post_init__(self):
        checks.positive("Steps", base=self.base, factor=self.factor)
        checks.one_of("Steps", "scaling", self.scaling, tuple(SCALINGS))
        valid = 0 < min(self.epochs, default=0) and list(self.epochs) == sorted(set(self.epochs))
        checks.require(valid, "Steps", "positive, increasing `epochs`", epochs=self.epochs)

    def __call__(
        self, batch_size: int, steps: int, steps_per_epoch: int
    ) -> keras.optimizers.schedules.LearningRateSchedule:
        """Returns the schedule of a run of `steps` steps."""
        peak = SCALINGS[self.scaling](self.base, batch_size)
        # Keras changes the value after the step of a boundary, steps counted from 0.
        boundaries = [round(epoch * steps_per_epoch) - 1 for epoch in self.epochs]
        expected = f"`epochs` within the run of {steps} steps"
        checks.require(boundaries[-1] < steps - 1, "Steps", expected, epochs=self.epochs)
        values = [peak * self.factor**number for number in range(len(boundaries) + 1)]
        return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)
