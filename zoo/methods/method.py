"""The interface of a method: which embeddings of a batch are compared, by which networks, with what memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from zoo import checks
from zoo import replicas as group


class Batch(NamedTuple):
    """What one replica learns from in one step.

    Args:
        views: tuple of V batches of views, floats in [0, 1], `[B, H, W, C]` (`[B, P, h, w, C]` for patches).
        id: identity of each image, int32 `[B]`.
        label: class of each image, int32 `[B]`; -1 where it has none.
        extra: whatever else the data declares, by name, such as boxes `[B, 4]` or vectors `[B, D]`.
    """

    views: tuple
    id: Any
    label: Any
    extra: dict[str, Any] = {}


class Step(NamedTuple):
    """Where a run stands.

    Args:
        number: steps done before this one, an integer tensor.
        steps: steps of the whole run.
        steps_per_epoch: steps that visit every image once.
        replicas: the replicas that share the global batch, see `zoo.replicas`.
    """

    number: Any
    steps: int
    steps_per_epoch: int
    replicas: group.Replicas = group.Alone()

    @property
    def epoch(self) -> Any:
        """The number of whole epochs done, int32 `[]`."""
        return ops.cast(self.number // self.steps_per_epoch, "int32")

    @property
    def progress(self) -> Any:
        """The share of the run that is done, float32 `[]` in [0, 1)."""
        return ops.cast(self.number, "float32") / self.steps


class Spec(NamedTuple):
    """What is known of a run before its first step.

    Args:
        view_shapes: shapes of the V views without the batch, `(H, W, C)`, or `(P, h, w, C)` for patches.
        ids: identity of every image in the data, integers `[n]`.
        batch_size: images of the global batch, N.
        classes: number of classes; 0 for data without labels.
        replica_count: replicas that share the global batch.
        extra_shapes: shapes of what else the data declares, by name, without the batch.
    """

    view_shapes: tuple[tuple[int, ...], ...]
    ids: np.ndarray
    batch_size: int
    classes: int = 0
    replica_count: int = 1
    extra_shapes: dict[str, tuple[int, ...]] = {}


class Method(keras.Model):
    """A method of contrastive or multiview learning.

    The constructor takes settings and factories of networks; `begin` makes the networks. One step of training is

        loss, logs, seen = method.contrast(batch, step)     # [B], scalars, tensors
        ...                                                 # the loop updates `trainable_variables`
        method.remember(seen, step)

    Args:
        name: of the model; the class in lower case by default.

    Attributes:
        title: name of the method in records and cards.
    """

    # No **kwargs here or below: a misspelt argument is then refused when the gin file is parsed.
    def __init__(self, name: str | None = None):
        self.title = name or type(self).__name__.lower()
        super().__init__(name=self.title)

    def begin(self, spec: Spec) -> None:
        """Makes the networks and the memory; runs once, before the first step, where variables may be made.

        Args:
            spec: the shapes of the views and the size of the data.

        Raises:
            ValueError: the method cannot be trained on such views or data.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected `begin` to be defined.")

    def contrast(self, batch: Batch, step: Step) -> tuple[Any, dict[str, Any], Any]:
        """Computes the loss of a step.

        Args:
            batch: this replica's part of the global batch.
            step: where the run stands.

        Returns:
            The loss of each image, `[B]`; a dictionary of scalars to log; and a nest of tensors for `remember`. Nothing
            may be kept on the method itself, which several replicas share.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected `contrast` to be defined.")

    def remember(self, seen: Any, step: Step) -> None:
        """Updates queues, banks and averages; runs after the update of the weights.

        Args:
            seen: the nest of tensors that `contrast` returned.
            step: as for `contrast`.
        """

    def new_epoch(self, epoch: int, extract: Callable[[keras.Model], np.ndarray]) -> None:
        """Prepares an epoch, on the host, before its first step; state that it changes must live in variables.

        Args:
            epoch: number of the epoch, from 0.
            extract: function from a network `[B, H, W, C] -> [B, D]` to its outputs for all images without
                augmentation, float32 `[n, D]`, rows in the order of `spec.ids`.
        """

    def watch(self, batch: Batch) -> dict[str, Any]:
        """Measures how the embeddings of a batch lie; the loop logs these numbers for a fixed set of images.

        Args:
            batch: views of the images as in training; no variable may change.

        Returns:
            Scalars by name; none by default.
        """
        return {}

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the networks `[B, H, W, C] -> [B, F]` that can be judged and exported, by name; the first is default.

        Networks have `begin`s as their makers: before it there are none.
        """
        return {"image": self.encoder}

    def call(self, images: Any, training: bool = False) -> Any:
        """Returns the features of the default encoder, `[B, H, W, C] -> [B, F]`."""
        return next(iter(self.encoders().values()))(images, training=training)

    def expect_views(self, spec: Spec, *names: str) -> None:
        """Raises ValueError unless there is one view for every name, of images that share their channels.

        Args:
            spec: as for `begin`.
            *names: what each view is, in order, for the error; `patches` is an image cut into patches.
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


def encoder_named(method: Method, name: str | None = None) -> keras.Model:
    """Returns one of a method's `encoders`.

    Args:
        method: after its `begin`.
        name: of the encoder; the default one if None.

    Raises:
        ValueError: there is no encoder of that name.
    """
    networks = method.encoders()
    if name is None:
        return next(iter(networks.values()))
    checks.one_of(type(method).__name__, "encoder", name, tuple(networks))
    return networks[name]
