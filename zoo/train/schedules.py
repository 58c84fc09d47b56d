"""Learning rates over a run: linear warm-up, then half a cosine to zero; scaled with the batch size."""

import dataclasses
import math

import keras

SCALINGS = {
    "linear": lambda base, batch: base * batch / 256,  # Goyal et al., 2017; SimCLR's 0.3 * B / 256
    "sqrt": lambda base, batch: base * math.sqrt(batch),  # SimCLR, Appendix B.1: 0.075 * sqrt(B)
    "none": lambda base, batch: base,
}


@dataclasses.dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up from zero, then cosine decay to zero (SimCLR, Section 2.2; no restarts).

    Args:
        base: learning rate before scaling, positive.
        scaling: how it grows with the global batch B: "linear" (base * B / 256), "sqrt" (base * sqrt(B)) or "none".
        warmup_epochs: length of the warm-up, in epochs; may be a fraction.
    """

    base: float = 0.3
    scaling: str = "linear"
    warmup_epochs: float = 10

    def __post_init__(self):
        if not self.base > 0:
            raise ValueError(f"WarmupCosine: expected `base` > 0. Received: base={self.base}.")
        if self.scaling not in SCALINGS:
            raise ValueError(
                f"WarmupCosine: expected `scaling` in {list(SCALINGS)}. Received: scaling={self.scaling!r}."
            )
        if self.warmup_epochs < 0:
            raise ValueError(
                f"WarmupCosine: expected `warmup_epochs` >= 0. Received: warmup_epochs={self.warmup_epochs}."
            )

    def __call__(self, batch_size, steps, steps_per_epoch):
        """The schedule of a run of `steps` steps, a `keras.optimizers.schedules.LearningRateSchedule`."""
        peak = SCALINGS[self.scaling](self.base, batch_size)
        warmup = round(self.warmup_epochs * steps_per_epoch)
        if warmup >= steps:
            raise ValueError(
                f"WarmupCosine: expected the warm-up to end before the run of {steps} steps; bind a smaller "
                "`schedules.WarmupCosine.warmup_epochs`. "
                f"Received: warmup_epochs={self.warmup_epochs} ({warmup} steps)."
            )
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(peak, steps)
        return keras.optimizers.schedules.CosineDecay(0.0, steps - warmup, warmup_target=peak, warmup_steps=warmup)
