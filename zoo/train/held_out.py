"""An evaluator that computes a method's loss on images that it is not trained on."""

from typing import Any

import numpy as np

from zoo import checks, engine
from zoo.methods import clustering, evaluation, memory
from zoo.methods import method as methods
from zoo.train import task as tasks


class HeldOut:
    """Evaluates the loss on held-out images, with views and batches as in training.

    The loss depends on the size of the batch, so the batches are of the run's size unless there are fewer images. Batch
    norm uses statistics of the batch, as in training; its moving averages stay as they are. All images are seen in the
    same views every time.

    Args:
        data: a `zoo.data.sources.Source` with at least two images, of which the run trains on none.
        limit: maximum number of images, drawn at random once; images that fill no batch are left out.
    """

    def __init__(self, data: Any, limit: int = 2048):
        checks.integers("HeldOut", 2, limit=limit)
        checks.require(data.size > 1, "HeldOut", "`data` of two images or more", images=data.size)
        self.data = data.sample(limit)
        self._method: Any = None

    def __call__(self, method: methods.Method, run: evaluation.Run) -> dict[str, float]:
        """Returns `val_loss` and the method's other scalars, `val_<name>`.

        Raises:
            ValueError: the method remembers every image of its training, and knows nothing of others.
        """
        if self._method is not method:
            self._method, self._measure = method, self._compiled(method, run)
        state = [(variable, variable.numpy()) for variable in method.non_trainable_variables]
        size = min(run.batch_size, self.data.size)
        found = []
        for start in range(0, self.data.size - size + 1, size):
            examples = self.data.examples(np.arange(start, start + size))
            # The queue may hold images of another split with the same ids.
            examples["id"] = (-2 - examples["id"]).astype(np.int32)
            found.append(self._measure(examples, np.int32(run.step)))
        for variable, value in state:
            variable.assign(value)
        return {f"val_{name}": float(np.mean([float(logs[name]) for logs in found])) for name in found[0]}

    def _compiled(self, method, run):
        kinds = (memory.MemoryBank, clustering.Clusters)
        banks = [layer.name for layer in method._flatten_layers() if isinstance(layer, kinds)]
        expected = "a method without a memory of every image, which holds no others"
        checks.require(not banks, "HeldOut", expected, method=type(method).__name__, banks=banks)
        task = tasks.Task(method, run.views, None, run.seed, run.steps, run.steps_per_epoch)

        def measure(examples, number):
            batch = task.batch(examples, task.views_of(examples, 0))
            return task.objective(batch, task.step(number, engine.current().replicas()))[1]

        return engine.current().compiled(measure, method.variables)
