"""Frozen features of any network: a method's encoder, a Keras model, a SavedModel, or the pixels themselves."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
from keras import ops

from zoo import checks, engine
from zoo.methods import method as methods

PIXELS = "pixels"
# Room for the overshoot of bicubic resizing; pixels in 0 ... 255 and standardized pixels fall outside.
_LOWEST, _HIGHEST = -1.0, 2.0
_QUIET = 10.0  # seconds between lines of progress

_logger = logging.getLogger(__name__)


class Source(Protocol):
    """The part of `zoo.data.sources.Source` that extraction reads."""

    @property
    def size(self) -> int:
        """The number of examples, n."""

    def in_order(self, batch_size: int) -> Iterator[Mapping[str, Any]]:
        """Yields batches of all examples, in the order of their ids; the last may be shorter."""


class _Network(NamedTuple):
    """A function of batches.

    Attributes:
        name: for errors and the log.
        shape: `(B, ...)` of the input, with None for a free size; None if it is not known.
        function: `[B, ...] -> [B, F]`.
        variables: the Keras variables that the function reads.
    """

    name: str
    shape: tuple[int | None, ...] | None
    function: Callable
    variables: Sequence = ()


class Extractor:
    """Turns examples into the frozen features of a network.

    All batches pass through one graph of a fixed batch size: the last one is padded, and its padding is cut off again.
    The weights are read at every call, so that one extractor can follow a network that is being trained.

    Args:
        model: a method, whose first encoder is used; a Keras model or layer `[B, ...] -> [B, F]`; a loaded SavedModel,
            or the path of one, whose signature `serving_default` maps `images` to `embedding`; or `"pixels"` (or None)
            for the values of the input itself.
        batch_size: number of examples in a batch. A SavedModel of a fixed batch size keeps its own.
        key: the entry of a source's batches that the network takes, such as `"image"` or `"depth"`.

    Raises:
        ValueError: the model is of another kind, or has several inputs.

    Example:
        >>> extract = features.Extractor(encoder, batch_size=512)
        >>> extract(sources.load("digits", "test")).shape
        (500, 128)
    """

    def __init__(self, model: Any, batch_size: int = 256, key: str = "image"):
        checks.integers("Extractor", batch_size=batch_size)
        self.batch_size, self.key = batch_size, key
        self.name, self.shape, self._embed = PIXELS, None, None
        if not _is_pixels(model):
            network = _network(model)
            self.name = network.name
            if network.shape is not None:
                self.batch_size, self.shape = network.shape[0] or batch_size, tuple(network.shape[1:])
            function = network.function
            self._embed = engine.current().compiled(lambda batch: self._graph(function, batch), network.variables)

    def _graph(self, function: Callable, batch: Any) -> Any:
        if keras.backend.standardize_dtype(batch.dtype) == "uint8":
            batch = ops.cast(batch, "float32") / 255
        outputs = function(batch)
        shape = getattr(outputs, "shape", None)
        checks.require(
            shape is not None and len(shape) == 2,
            "Extractor",
            f"{self.name!r} to return pooled features [B, F]",
            output="several outputs" if shape is None else tuple(shape),
        )
        return ops.cast(outputs, "float32")

    def __call__(self, examples: Source | np.ndarray) -> np.ndarray:
        """Returns the features of every example, in order.

        Args:
            examples: a source, or an array `[n, ...]`. Values of type uint8 are divided by 255; floats are taken as
                they are, and must lie in [0, 1] where an array holds images `[n, H, W, C]`.

        Returns:
            float32 `[n, F]`; for pixels F is the product of an example's shape.

        Raises:
            ValueError: a source lacks the key, the examples do not have the network's shape, or images are out of
                range.
        """
        size = _checked(examples, self.key)
        features: Any = None
        done, began, spoke = 0, time.monotonic(), time.monotonic()
        for batch in _batches(examples, self.key, self.batch_size):
            if features is None:
                self._check_shape(batch.shape[1:])
            rows = self._rows(batch)
            if features is None:
                features = np.empty((size, rows.shape[1]), np.float32)
            features[done : done + len(rows)] = rows
            done += len(rows)
            if time.monotonic() - spoke > _QUIET:
                spoke = time.monotonic()
                rate = done / (spoke - began)
                _logger.info("Features of %s: %d of %d examples, %.0f a second.", self.name, done, size, rate)
        checks.require(features is not None, "Extractor", "one or more examples", size=size)
        return features

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        wanted = shape if self.shape is None else self.shape
        checks.require(
            len(wanted) == len(shape) and all(a in (None, b) for a, b in zip(wanted, shape, strict=True)),
            "Extractor",
            f"examples of the shape {wanted} that {self.name!r} takes; nothing is resized here",
            shape=tuple(shape),
        )

    def _rows(self, batch: np.ndarray) -> np.ndarray:
        count = len(batch)
        if self._embed is None:
            flat = batch.reshape(count, -1).astype(np.float32)
            return flat / np.float32(255) if batch.dtype == np.uint8 else flat
        if count < self.batch_size:
            batch = np.pad(batch, [(0, self.batch_size - count), *[(0, 0)] * (batch.ndim - 1)])
        return ops.convert_to_numpy(self._embed(batch))[:count]


class Cache:
    """Extracts the features of a network on a source once, and keeps them.

    Networks and sources are told apart by identity. The weights must not change while a cache is in use.

    Args:
        batch_size: see `Extractor`.
        key: see `Extractor`.
    """

    def __init__(self, batch_size: int = 256, key: str = "image"):
        self._batch_size, self._key = batch_size, key
        # Keyed by `id` and stored with its object: Python may reuse the `id` of an object that is gone.
        self._extractors: dict[int, tuple[Any, Extractor]] = {}
        self._features: dict[tuple[int, int], tuple[Any, np.ndarray]] = {}
        self._subsets: dict[int, tuple[Any, Any, np.ndarray]] = {}

    def subset(self, source: Any, rows: np.ndarray) -> Any:
        """Returns `source.subset(rows)`, whose features are then rows of the features of the source.

        Args:
            source: a source.
            rows: int64 `[k]`.
        """
        part = source.subset(rows)
        self._subsets[id(part)] = part, source, rows
        return part

    def __call__(self, model: Any, source: Any) -> np.ndarray:
        """Returns the features of a source, float32 `[n, F]`; see `Extractor`. Do not write into them."""
        if id(source) in self._subsets:
            _, whole, rows = self._subsets[id(source)]
            return self(model, whole)[rows]
        key = id(model), id(source)
        if key not in self._features:
            if id(model) not in self._extractors:
                self._extractors[id(model)] = model, Extractor(model, self._batch_size, self._key)
            began, extractor = time.monotonic(), self._extractors[id(model)][1]
            found = extractor(source)
            seconds = time.monotonic() - began
            _logger.info("Features of %s: %d of width %d in %.1f s.", extractor.name, *found.shape, seconds)
            self._features[key] = source, found
        return self._features[key][1]


def extract(model: Any, examples: Source | np.ndarray, batch_size: int = 256, key: str = "image") -> np.ndarray:
    """Returns the frozen features of examples, float32 `[n, F]`.

    Args:
        model: see `Extractor`.
        examples: a `zoo.data.sources.Source` or an array `[n, ...]`; see `Extractor.__call__`.
        batch_size: see `Extractor`.
        key: see `Extractor`.
    """
    return Extractor(model, batch_size, key)(examples)


def input_shape(model: Any) -> tuple[int | None, ...] | None:
    """Returns the shape of an example that a network takes, None for a free size; None where it is not known.

    Args:
        model: see `Extractor`.
    """
    network = None if _is_pixels(model) else _network(model)
    return None if network is None or network.shape is None else tuple(network.shape[1:])


def _is_pixels(model: Any) -> bool:
    return model is None or (isinstance(model, str) and model == PIXELS)


def _network(model: Any) -> _Network:
    if isinstance(model, str | os.PathLike):
        import tensorflow as tf  # Only TensorFlow runs what it saved.

        path = os.fspath(model)
        is_saved_model = tf.saved_model.contains_saved_model(path)
        checks.require(is_saved_model, "Extractor", "'pixels' or the path of a SavedModel folder", model=path)
        from zoo.engine import graphs

        return _signature(graphs.load(path), os.path.basename(os.path.normpath(path)))
    if hasattr(model, "encoders"):
        model = methods.encoder_named(model)
    if isinstance(model, keras.layers.Layer):
        shape = getattr(model, "input_shape", None)
        checks.require(
            shape is None or (isinstance(shape, tuple) and not any(isinstance(size, tuple | dict) for size in shape)),
            "Extractor",
            "a network with one input [B, ...]",
            input_shape=shape,
        )
        return _Network(model.name, shape, lambda batch: model(batch, training=False), model.variables)
    if hasattr(model, "signatures"):
        return _signature(model, "SavedModel")
    raise ValueError(
        "Extractor: expected `model` to be a method with encoders, a Keras model, a SavedModel or 'pixels'. "
        f"Received: a model of type {type(model).__name__}."
    )


def _signature(loaded: Any, name: str) -> _Network:
    signature = loaded.signatures.get("serving_default")
    inputs = signature.structured_input_signature[1] if signature else {}
    outputs = signature.structured_outputs if signature else {}
    checks.require(
        set(inputs) == {"images"} and "embedding" in outputs,
        "Extractor",
        f"{name!r} to have a signature 'serving_default' from 'images' to 'embedding'",
        signatures=sorted(loaded.signatures),
        inputs=sorted(inputs),
        outputs=sorted(outputs),
    )

    def embed(images):
        # Looked up here because a signature lives only as long as the object that it was loaded with.
        return loaded.signatures["serving_default"](images=images)["embedding"]

    return _Network(name, tuple(inputs["images"].shape), embed)


def _is_source(examples: Any) -> bool:
    return hasattr(examples, "in_order")


def _checked(examples: Any, key: str) -> int:
    """Returns the number of examples, after checking what can be checked before they are read."""
    if _is_source(examples):
        return examples.size
    is_array = isinstance(examples, np.ndarray)
    if not is_array or not (examples.dtype == np.uint8 or np.issubdtype(examples.dtype, np.floating)):
        raise ValueError(
            "Extractor: expected a source or an array of uint8 or floats. "
            f"Received: {type(examples).__name__} {getattr(examples, 'dtype', '')}."
        )
    checks.require(
        examples.ndim >= 2 and len(examples) > 0, "Extractor", "one or more examples [n, ...]", shape=examples.shape
    )
    if key == "image" and examples.ndim == 4 and examples.dtype != np.uint8:
        low, high = examples.min(), examples.max()
        if not (low >= _LOWEST and high <= _HIGHEST):  # also true for NaN
            raise ValueError(
                "Extractor: expected float images in [0, 1]; divide by 255, or pass uint8. "
                f"Received: images from {low} to {high}."
            )
    return len(examples)


def _batches(examples: Any, key: str, batch_size: int) -> Iterator[np.ndarray]:
    if _is_source(examples):
        images = getattr(examples, "images", None) if key == "image" else None  # if the source has them in memory
        if images is None:
            for batch in examples.in_order(batch_size):
                checks.one_of("Extractor", "key", key, list(batch))
                yield _standard(ops.convert_to_numpy(batch[key]))
            return
        examples = images
    array = _standard(examples)
    for start in range(0, len(array), batch_size):
        yield array[start : start + batch_size]


def _standard(array: np.ndarray) -> np.ndarray:
    """Returns floats in single precision and anything else unchanged."""
    return array.astype(np.float32, copy=False) if np.issubdtype(array.dtype, np.floating) else array
