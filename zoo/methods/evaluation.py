"""The interface of evaluators: functions that measure a method while the loop trains it."""

from typing import Any, NamedTuple, Protocol

from zoo.methods import method as methods


class Run(NamedTuple):
    """A training run, as an evaluator sees it.

    Attributes:
        step: number of steps done so far.
        steps: number of steps of the whole run.
        steps_per_epoch: number of steps in an epoch.
        views: the run's function `(images, seed) -> tuple of V batches`.
        data: the source of the training examples.
        engine: the `zoo.train.engines.Engine` that trains.
        seed: the run's seed.
        batch_size: N, number of images in the global batch.
    """

    step: int
    steps: int
    steps_per_epoch: int
    views: Any
    data: Any
    engine: Any
    seed: int
    batch_size: int


class Evaluator(Protocol):
    """Measures a method at regular intervals of its training."""

    def __call__(self, method: methods.Method, run: Run) -> dict[str, float]:
        """Returns numbers to log, by name.

        Args:
            method: the method in its current state, which must not be changed.
            run: the run and how far it has come.
        """
