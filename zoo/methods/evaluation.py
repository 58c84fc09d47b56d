"""The interface of evaluators: functions that measure a method while the loop trains it."""

from typing import Any, NamedTuple, Protocol

from zoo.methods import method as methods


class Run(NamedTuple):
    """A training run, as an evaluator sees it.

    Attributes:
        step: number of steps that are done.
        steps: number of steps of the whole run.
        steps_per_epoch: number of steps that visit every example once.
        views: the `(images, seed) -> tuple of V batches` of the run.
        data: the source of the training examples.
        engine: the side of the loop that knows the engine, the strategy and the replicas.
        seed: the run's seed.
    """

    step: int
    steps: int
    steps_per_epoch: int
    views: Any
    data: Any
    engine: Any
    seed: int


class Evaluator(Protocol):
    """Measures a method, every so often, between two steps."""

    def __call__(self, method: methods.Method, run: Run) -> dict[str, float]:
        """Returns numbers to log, by name.

        Args:
            method: the method as it stands; it must not be changed.
            run: where training stands.
        """
