"""The interface of a method: its networks, its loss on a batch, and its state between steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from zoo import checks
from zoo import replicas as group


class Batch(NamedTuple):
    """The examples that one replica learns from in one step.

    Args:
        views: tuple of V batches of views, floats in [0, 1], `[B, H, W, C]`, or `[B, P, h, w, C]` for patches.
        id: id of every image, int32 `[B]`.
        label: class of every image, int32 `[B]`; -1 means no label.
        extra: the other fields of the data by name, such as boxes `[B, 4]` or vectors `[B, D]`.
    """

    views: tuple
    id: Any
    label: Any
    extra: dict[str, Any] = {}


class Step(NamedTuple):
    """The position of a step within its run.

    Args:
        number: number of steps done before this one, an integer tensor.
        steps: number of steps of the whole run.
        steps_per_epoch: number of steps in an epoch.
        replicas: the replicas that share the global batch, see `zoo.replicas`.
    """

    number: Any
    steps: int
    steps_per_epoch: int
    replicas: group.Replicas = group.Alone()

    @property
    def epoch(self) -> Any:
        """The number of completed epochs, int32 `[]`."""
        return ops.cast(self.number // self.steps_per_epoch, "int32")

    @property
    def progress(self) -> Any:
        """The completed fraction of the run, float32 `[]` in [0, 1)."""
        return ops.cast(self.number, "float32") / self.steps


class Spec(NamedTuple):
    """Facts about a run that a method knows before the first step.

    Args:
        view_shapes: shapes of the V views without the batch dimension, `(H, W, C)`, or `(P, h, w, C)` for patches.
        ids: ids of all images in the data, integers `[n]`.
        batch_size: N, number of images in the global batch.
        classes: number of classes; 0 for data without labels.
        replica_count: number of replicas that share the global batch.
        extra_shapes: shapes of the data's other fields by name, without the batch dimension.
        labels: classes of all images in the order of `ids`, integers `[n]`, -1 for none; None where they can only be
            read together with the images.
    """

    view_shapes: tuple[tuple[int, ...], ...]
    ids: np.ndarray
    batch_size: int
    classes: int = 0
    replica_count: int = 1
    extra_shapes: dict[str, tuple[int, ...]] = {}
    labels: np.ndarray | None = None


class Method(keras.Model):
    """A method of contrastive or multiview learning.

    The constructor takes settings and factories of networks; `begin` makes the networks. One step of training is

        loss, logs, seen = method.contrast(batch, step)     # [B], scalars, tensors
        ...                                                 # the loop updates `trainable_variables`
        method.remember(seen, step)

    Args:
        name: name of the model; the name of the class in lower case by default.

    Attributes:
        title: name of the method in `run.json` and in model cards.
    """

    # No **kwargs, here and in subclasses, so that gin rejects a misspelled argument when it parses the file.
    def __init__(self, name: str | None = None):
        self.title = name or type(self).__name__.lower()
        super().__init__(name=self.title)

    def begin(self, spec: Spec) -> None:
        """Makes all networks and other state; called once, before the first step.

        Args:
            spec: shapes of the views, size of the data and of the batch.

        Raises:
            ValueError: the method cannot be trained on such views or data.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected `begin` to be defined.")

    def contrast(self, batch: Batch, step: Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the loss of a step.

        Args:
            batch: this replica's part of the global batch.
            step: position of the step within the run.

        Returns:
            The loss of every image, `[B]`; scalars to log by name; and a nest of tensors for `remember`. A method must
            not store tensors in attributes, because replicas share the object.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected `contrast` to be defined.")

    def remember(self, seen: Any, step: Step) -> None:
        """Updates queues, banks and averages; called after the optimizer's update.

        Args:
            seen: the nest of tensors that `contrast` returned.
            step: as for `contrast`.
        """

    def new_epoch(self, epoch: int, extract: Callable[[keras.Model], np.ndarray]) -> None:
        """Prepares an epoch; called on the host, before the epoch's first step. All state must live in variables.

        Args:
            epoch: number of the epoch, from 0.
            extract: function that takes a network `[B, H, W, C] -> [B, D]` and returns its outputs for all images,
                without augmentation, float32 `[n, D]` in the order of `spec.ids`.
        """

    def watch(self, batch: Batch) -> dict[str, Any]:
        """Returns statistics of the embeddings of a batch; the loop logs them for a fixed set of images.

        Args:
            batch: images with views as in training. The call must not change any variable.

        Returns:
            Scalars by name; an empty dictionary by default.
        """
        return {}

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the networks `[B, H, W, C] -> [B, F]` to evaluate and export, by name; the first is the default.

        Call it after `begin`, which makes the networks.
        """
        return {"image": self.encoder}

    def call(self, images: Any, training: bool = False) -> Any:
        """Returns the features of the default encoder, `[B, H, W, C] -> [B, F]`."""
        return next(iter(self.encoders().values()))(images, training=training)

    def expect_views(self, spec: Spec, *names: str) -> None:
        """Raises ValueError unless there is one view for every name and all views have the same number of channels.

        Args:
            spec: as for `begin`.
            *names: names of the views in order, for the error; the view `patches` is an image cut into patches.
        """
        who, shapes = type(self).__name__, spec.view_shapes
        expected = f"{len(names)} {'view' if len(names) == 1 else 'views'} ({', '.join(names)})"
        checks.require(len(shapes) == len(names), who, expected, views=len(shapes))
        for name, shape in zip(names, shapes, strict=True):
            kind = "patches (P, h, w, C)" if name == "patches" else "images (H, W, C)"
            valid = len(shape) == (4 if name == "patches" else 3)
            checks.require(valid, who, f"the view {name!r} to be of {kind}", shape=shape)
        channels = {shape[-1] for shape in shapes}
        checks.require(len(channels) == 1, who, "views of one number of channels", view_shapes=shapes)

    def expect_crops(self, spec: Spec) -> None:
        """Raises ValueError unless the first two views are images of one shape; further views may be smaller crops.

        Args:
            spec: as for `begin`.
        """
        shapes, who = spec.view_shapes, type(self).__name__
        expected = "two views or more: two large crops, then any number of small ones"
        checks.require(len(shapes) >= 2, who, expected, views=len(shapes))
        self.expect_views(spec, "first crop", "second crop", *(f"small crop {n}" for n in range(1, len(shapes) - 1)))
        checks.require(shapes[0] == shapes[1], who, "two large crops of one shape", view_shapes=shapes)

    def expect_labels(self, spec: Spec, smallest_class: int) -> None:
        """Raises ValueError unless the data have labels of two classes or more, each with enough images.

        Args:
            spec: as for `begin`.
            smallest_class: least number of images of a class that has any.
        """
        who = type(self).__name__
        checks.require(spec.classes > 0, who, "data with labels, as `sources.load` reads them", classes=spec.classes)
        if spec.labels is None:
            return
        counts = np.bincount(spec.labels[spec.labels >= 0], minlength=spec.classes)
        present = int(np.count_nonzero(counts))
        checks.require(present > 1, who, "images of two classes or more", classes_with_images=present)
        few = np.flatnonzero((counts > 0) & (counts < smallest_class))
        expected = f"{smallest_class} images or more of every class, or a lower `smallest_class`"
        checks.require(not len(few), who, expected, classes=few[:10].tolist(), images=counts[few[:10]].tolist())


def encoder_named(method: Method, name: str | None = None) -> keras.Model:
    """Returns one of a method's `encoders`.

    Args:
        method: a method whose `begin` has run, or anything else that has `encoders()`.
        name: name of the encoder; None for the default one.

    Raises:
        ValueError: there is no encoder of that name.
    """
    networks = method.encoders()
    if name is None:
        return next(iter(networks.values()))
    checks.one_of(type(method).__name__, "encoder", name, tuple(networks))
    return networks[name]
