"""An evaluator without labels that the loop runs for every method: statistics of the embeddings of fixed images."""

from typing import Any

import numpy as np

from zoo import engine
from zoo.methods import evaluation, method
from zoo.train import task as tasks


class Watch:
    """Evaluates `method.watch` on the views of a fixed set of images.

    Args:
        task: the run's task, for its method and its views.
        data: a `zoo.data.sources.Source`.
        count: maximum number of examples, drawn at random once.
    """

    def __init__(self, task: tasks.Task, data: Any, count: int = 512):
        sample = data.sample(count)
        self._examples = sample.examples(np.arange(sample.size))

        def measure(examples):
            # Views are always those of epoch 0, so that only the network changes.
            return task.method.watch(task.batch(examples, task.views_of(examples, 0)))

        self._measure = engine.current().compiled(measure, task.method.variables)

    def __call__(self, method: method.Method, run: evaluation.Run) -> dict[str, float]:
        """Returns the statistics of the method in its current state."""
        return {name: float(value) for name, value in self._measure(self._examples).items()}
