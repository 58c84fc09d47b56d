"""What the loop watches of every method without labels: how the embeddings of a fixed set of images lie."""

from typing import Any

import numpy as np

from zoo import engine
from zoo.methods import evaluation, method
from zoo.train import task as tasks


class Watch:
    """Evaluates `method.watch` on the views of a fixed set of images.

    Args:
        task: the run's task, for its method and its views.
        data: a `zoo.data.sources.Source`; its first `count` examples are watched.
        count: number of examples.
    """

    def __init__(self, task: tasks.Task, data: Any, count: int = 512):
        self._examples = data.examples(np.arange(min(count, data.size)))

        def measure(examples):
            # The views of epoch 0, at every step: what changes is the network.
            return task.method.watch(task.batch(examples, task.views_of(examples, 0)))

        self._measure = engine.current().compiled(measure, task.method.variables)

    def __call__(self, method: method.Method, run: evaluation.Run) -> dict[str, float]:
        """Returns the numbers, as the method stands."""
        return {name: float(value) for name, value in self._measure(self._examples).items()}
