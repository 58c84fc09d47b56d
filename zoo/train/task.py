"""The part of a training step that all engines share: the views of a batch, and the method's loss on them."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from zoo import checks, replicas, seeds
from zoo.methods import method as methods
from zoo.train import optimizers


def describes_map(shape: tuple[int, ...], dtype: str) -> bool:
    """Returns whether a field of an example is an image or map that views transform: uint8 `[H, W, C]`."""
    return len(shape) == 3 and dtype == "uint8"


def is_map(values: Any) -> bool:
    """Returns whether a field of a batch is an image or map that views transform: uint8 `[B, H, W, C]`."""
    return describes_map(tuple(values.shape[1:]), keras.backend.standardize_dtype(values.dtype))


def for_views(maps: Mapping[str, Any]) -> Any:
    """Returns the argument of views for maps, or shapes, by field: the image itself where there is no other map."""
    return maps["image"] if list(maps) == ["image"] else dict(maps)


def kernels(variables: Sequence) -> list:
    """Returns the variables, or their values, of rank 2 or more: no biases and no scales."""
    return [variable for variable in variables if optimizers.REACHES["kernels"](variable)]


def relative_update(before: Sequence, after: Sequence) -> Any:
    """Returns the length of a step relative to that of the weights, |after - before| / |before|.

    Args:
        before: weights before the step, arrays of any shapes.
        after: the same weights after it.

    Returns:
        Scalar, float32.
    """
    old = [ops.cast(values, "float32") for values in before]
    changes = [ops.cast(values, "float32") - start for start, values in zip(old, after, strict=True)]
    lengths = [sum(ops.sum(ops.square(values)) for values in several) for several in (changes, old)]
    return ops.sqrt(lengths[0] / ops.maximum(lengths[1], 1e-12))


class Task:
    """A method with its views and optimizer; base class of the engines' steps, which add the update.

    Args:
        method: a method whose `begin` has run.
        views: `(images, seed) -> tuple of V batches`, a `zoo.views.view.Views`; None for data without images.
        optimizer: a built Keras optimizer.
        seed: the run's seed.
        steps: number of steps of the run.
        steps_per_epoch: number of steps in an epoch.
    """

    def __init__(self, method: methods.Method, views: Any, optimizer: Any, seed: int, steps: int, steps_per_epoch: int):
        self.method, self.views, self.optimizer = method, views, optimizer
        self.seed, self.steps, self.steps_per_epoch = seed, steps, steps_per_epoch

    def views_of(self, examples: Mapping[str, Any], number: Any) -> tuple:
        """Returns the views of a batch, which depend only on the run's seed, the epoch and the examples.

        Args:
            examples: a batch of the source, by field. Images and maps, such as depth, are scaled to [0, 1] and share
                the random draws of a view.
            number: number of the step.
        """
        if self.views is None:
            return ()
        maps = {name: ops.cast(values, "float32") / 255 for name, values in examples.items() if is_map(values)}
        epoch = ops.cast(number // self.steps_per_epoch, "int32")
        seed = seeds.Seed(self.seed).fold(epoch).fold(examples["id"])
        return self.views(for_views(maps), seed)

    def batch(self, examples: Mapping[str, Any], views: tuple) -> methods.Batch:
        """Returns the batch that is passed to the method."""
        rest = {
            name: values
            for name, values in examples.items()
            if name not in ("id", "label") and not (views and is_map(values))
        }
        ids = ops.cast(examples["id"], "int32")
        label = examples["label"] if "label" in examples else ops.full(ids.shape, -1, "int32")
        return methods.Batch(views, ids, ops.cast(label, "int32"), rest)

    def step(self, number: Any, group: replicas.Replicas) -> methods.Step:
        """Returns the position of a step within the run."""
        return methods.Step(number, self.steps, self.steps_per_epoch, group)

    def objective(self, batch: methods.Batch, step: methods.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns this replica's share of the global mean loss, scalars to log, and the tensors for `remember`."""
        who, returned = type(self.method).__name__, self.method.contrast(batch, step)
        valid = isinstance(returned, (tuple, list)) and len(returned) == 3
        checks.require(valid, who, "`contrast` to return a tuple (loss, logs, seen)", returned=returned)
        loss, logs, seen = returned  # [B], scalars by name, a nest of tensors
        expected = "`contrast` to return the loss of every image, [B]"
        checks.require(tuple(loss.shape) == tuple(batch.id.shape), who, expected, shape=tuple(loss.shape))
        for name, value in logs.items():
            shape = tuple(getattr(value, "shape", ()))
            checks.require(shape == (), who, f"`contrast` to return a scalar to log as {name!r}", shape=shape)
        mean = ops.mean(loss)
        share = mean / step.replicas.count
        if hasattr(self.optimizer, "dynamic_scale"):
            share = self.optimizer.scale_loss(share)
        return share, {"loss": mean, **logs}, seen
