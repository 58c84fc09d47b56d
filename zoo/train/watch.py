"""An evaluator without labels that the loop runs for every method: statistics of the embeddings of fixed images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from zoo import engine
from zoo.methods import evaluation, method
from zoo.train import task as tasks


def view_statistics(views: Sequence) -> dict[str, Any]:
    """Returns what the views themselves tell about the health of a run.

    Args:
        views: V batches of views, `[B, H, W, C]` or `[B, P, h, w, C]`, as `method.Batch` holds them.

    Returns:
        Scalars by name, {} without views: `view_low` and `view_high`, the extreme pixels of all views; `view_spread`,
        the least standard deviation of the pixels of a view; and, if the first two views have one shape,
        `view_difference`, their mean absolute difference relative to the spread of the first.
    """
    views = [ops.cast(view, "float32") for view in views]
    if not views:
        return {}
    spreads = [ops.std(view) for view in views]
    found = {
        "view_low": ops.min([ops.min(view) for view in views]),
        "view_high": ops.max([ops.max(view) for view in views]),
        "view_spread": ops.min(spreads),
    }
    if len(views) > 1 and views[0].shape == views[1].shape:
        difference = ops.mean(ops.abs(views[0] - views[1]))
        found["view_difference"] = difference / ops.maximum(spreads[0], 1e-12)
    return found


class Watch:
    """Evaluates `method.watch` on the views of a fixed set of images, and describes the views.

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
            views = task.views_of(examples, 0)
            return {**task.method.watch(task.batch(examples, views)), **view_statistics(views)}

        self._measure = engine.current().compiled(measure, task.method.variables)

    def __call__(self, method: method.Method, run: evaluation.Run) -> dict[str, float]:
        """Returns the statistics of the method in its current state."""
        return {name: float(value) for name, value in self._measure(self._examples).items()}
