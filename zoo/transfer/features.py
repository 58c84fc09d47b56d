"""Frozen features of any model: a method, a Keras model, a SavedModel, or the pixels themselves."""

import os
import time

import keras
import numpy as np
from absl import logging
from keras import ops

from zoo import engine

PIXELS = "pixels"
# Room for the overshoot of bicubic resizing; pixels in 0 ... 255 and standardised ones fall outside.
_LOWEST, _HIGHEST = -1.0, 2.0
_QUIET = 10.0  # seconds between lines of progress


class Extractor:
    """Images -> features, through one graph of a fixed batch size: the last batch is filled up and cut again.

    The weights are read when it is called: an extractor made once follows a model that is being trained.

    Args:
        model: a `zoo.methods.method.Method`, a Keras model `[B, H, W, C] -> [B, F]`, a loaded SavedModel or the path of
            one whose signature `serving_default` maps `images` to `embedding`, or `"pixels"` (or None).
        batch_size: images that pass at once.
    """

    def __init__(self, model, batch_size=256):
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"extract: expected an integer >= 1. Received: batch_size={batch_size!r}.")
        self.batch_size = batch_size
        if model is None or model == PIXELS:
            self.name, self.image_shape, embed = PIXELS, (None, None, None), None
        else:
            self.name, shape, embed, variables = _network(model)
            self.image_shape = tuple(shape[1:])
            self.batch_size = shape[0] or batch_size
        self._embed = embed and engine.current().compiled(lambda images: self._graph(embed, images), variables)

    def _graph(self, embed, images):
        if keras.backend.standardize_dtype(images.dtype) == "uint8":
            images = ops.cast(images, "float32") / 255
        outputs = embed(images)
        shape = getattr(outputs, "shape", None)
        if shape is None or len(shape) != 2:
            raise ValueError(
                f"extract: expected pooled features [B, F] of {self.name!r}. Received: "
                f"{'several outputs' if shape is None else f'an output of shape {tuple(shape)}'}."
            )
        return ops.cast(outputs, "float32")

    def __call__(self, images):
        """Features of every image, in order.

        Args:
            images: a `zoo.data.sources.Source`, or an array `[n, H, W, C]`: uint8, or float in [0, 1].

        Returns:
            float32 `[n, F]`.

        Raises:
            ValueError: images of another shape, or outside their range.
        """
        is_source = hasattr(images, "in_order")
        size, shape = (images.size, tuple(images.image_shape)) if is_source else _checked(images)
        if len(shape) != 3 or any(want not in (None, have) for want, have in zip(self.image_shape, shape, strict=True)):
            raise ValueError(
                f"extract: expected images of shape {self.image_shape} (height, width, channels) for {self.name!r}. "
                f"Received: shape={shape}; images are never resized on the way."
            )
        features, done, began, spoke = None, 0, time.monotonic(), time.monotonic()
        for batch in _batches(images, is_source, self.batch_size):
            rows = self._rows(batch)
            if features is None:
                features = np.empty((size, rows.shape[1]), np.float32)
            features[done : done + len(rows)] = rows
            done += len(rows)
            if time.monotonic() - spoke > _QUIET:
                spoke = time.monotonic()
                logging.info(
                    "features of %s: %d of %d images, %.0f a second", self.name, done, size, done / (spoke - began)
                )
        return features

    def _rows(self, batch):
        count = len(batch)
        if self._embed is None:
            flat = batch.reshape(count, -1).astype(np.float32)
            return flat / np.float32(255) if batch.dtype == np.uint8 else flat
        if count < self.batch_size:
            batch = np.pad(batch, [(0, self.batch_size - count), (0, 0), (0, 0), (0, 0)])
        return ops.convert_to_numpy(self._embed(batch))[:count]


def extract(model, images, batch_size=256):
    """Frozen features of images.

    Args:
        model: see `Extractor`.
        images: a `zoo.data.sources.Source`, or an array `[n, H, W, C]`: uint8, or float in [0, 1].
        batch_size: images that pass at once.

    Returns:
        float32 `[n, F]`; for pixels F = H * W * C, in [0, 1].

    Raises:
        ValueError: images of another shape than the model's, or outside their range.
    """
    return Extractor(model, batch_size)(images)


def _network(model):
    """Of a model: name, input shape `(B, H, W, C)` with None for what is free, function, and variables of Keras."""
    if isinstance(model, str | os.PathLike):
        import tensorflow as tf  # Only TensorFlow runs what it saved.

        if not tf.saved_model.contains_saved_model(os.fspath(model)):
            raise ValueError(
                f"extract: expected 'pixels' or the path of a SavedModel folder. Received: model={str(model)!r}."
            )
        return _signature(tf.saved_model.load(os.fspath(model)), os.path.basename(os.path.normpath(model)))
    if hasattr(model, "feature_extractor"):
        model = model.feature_extractor()
    if isinstance(model, keras.Model):
        shape = model.input_shape
        if not isinstance(shape, tuple) or len(shape) != 4:
            raise ValueError(f"extract: expected a model of images [B, H, W, C]. Received: input_shape={shape}.")
        return model.name, shape, lambda images: model(images, training=False), model.variables
    if hasattr(model, "signatures"):
        return _signature(model, "SavedModel")
    raise ValueError(
        "extract: expected a method, a Keras model, a SavedModel or 'pixels'. "
        f"Received: model of type {type(model).__name__}."
    )


def _signature(loaded, name):
    signature = loaded.signatures.get("serving_default")
    inputs = signature.structured_input_signature[1] if signature else {}
    outputs = signature.structured_outputs if signature else {}
    if set(inputs) != {"images"} or "embedding" not in outputs:
        raise ValueError(
            f"extract: expected {name!r} to have a signature 'serving_default' from 'images' to 'embedding'. Received: "
            f"signatures={sorted(loaded.signatures)}, from {sorted(inputs)} to {sorted(outputs)}."
        )

    def embed(images):
        # Held here, as a signature lives only as long as what it was loaded with.
        return loaded.signatures["serving_default"](images=images)["embedding"]

    return name, tuple(inputs["images"].shape), embed, ()


def _checked(images):
    """Size and image shape of an array, after its range was checked."""
    if not isinstance(images, np.ndarray) or not (images.dtype == np.uint8 or np.issubdtype(images.dtype, np.floating)):
        raise ValueError(
            "extract: expected a source or an array of uint8 or float images. "
            f"Received: {type(images).__name__} {getattr(images, 'dtype', '')}."
        )
    if images.ndim != 4 or not len(images):
        raise ValueError(f"extract: expected one or more images [n, H, W, C]. Received: shape={images.shape}.")
    if images.dtype != np.uint8:
        low, high = images.min(), images.max()
        if not (low >= _LOWEST and high <= _HIGHEST):  # False for NaN too
            raise ValueError(
                "extract: expected float images in [0, 1]; divide by 255, or give uint8. "
                f"Received: images from {low} to {high}."
            )
    return len(images), images.shape[1:]


def _batches(images, is_source, batch_size):
    if is_source and images.images is None:
        for batch in images.in_order(batch_size):
            yield ops.convert_to_numpy(batch["image"])
        return
    array = images.images if is_source else images
    if array.dtype != np.uint8:
        array = array.astype(np.float32, copy=False)
    for start in range(0, len(array), batch_size):
        yield array[start : start + batch_size]
