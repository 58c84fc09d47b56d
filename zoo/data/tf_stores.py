"""Examples for tf.data pipelines: in memory, in image files, or in the TFRecord files of TFDS."""

import dataclasses
import functools
import hashlib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from zoo import seeds
from zoo.data import decoding, images, records, stores, tf_stream


class Memory:
    """Examples in memory; a `zoo.data.stores.Store`.

    Args:
        tensors: key -> tensor or array `[n, ...]`.
        labels: np.int64 `[n]`, or None.
    """

    fallible = False
    in_memory = True
    stream = tf_stream

    def __init__(self, tensors: Mapping[str, Any], labels: np.ndarray | None):
        self.labels = labels
        with tf.device("CPU:0"):
            self._tensors = {key: tf.convert_to_tensor(value) for key, value in tensors.items()}
            count = len(next(iter(self._tensors.values())))
            self._tensors["label"] = tf.constant(np.full(count, -1) if labels is None else labels, tf.int32)
        self.spec: stores.Spec = {
            key: (tuple(tensor.shape[1:]), tensor.dtype.name) for key, tensor in self._tensors.items()
        }

    def array(self, key: str) -> np.ndarray:
        """Returns the values of one key, `[n, ...]`, read-only: the tensor's own memory."""
        return np.asarray(memoryview(self._tensors[key]))

    def batch(self, positions: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the examples at `positions`, int64 `[B]`."""
        return {key: tf.gather(tensor, positions) for key, tensor in self._tensors.items()}

    def examples(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the examples at `positions`, int64 `[B]`, as NumPy arrays."""
        return {key: self.array(key)[positions] for key in self._tensors}

    def explain(self, positions: np.ndarray) -> None:
        """Does nothing: reading from memory does not fail."""


class _OnDisk:
    """The common part of `Files` and `Records`, which decode examples whenever they read them."""

    fallible = True
    in_memory = False
    stream = tf_stream
    spec: stores.Spec

    def array(self, key: str) -> np.ndarray:
        raise TypeError(f"{type(self).__name__}: expected a store in memory. Received: key={key!r} of a store on disk.")

    def examples(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the examples at `positions`, int64 `[B]`, as NumPy arrays."""
        if not len(positions):
            return {key: np.zeros((0, *shape), dtype) for key, (shape, dtype) in self.spec.items()}
        store: Any = self
        return {key: value.numpy() for key, value in tf_stream.collected(store, positions, 128).items()}


class _Decoder:
    """Decodes images of one kind.

    Args:
        image_shape: (H, W, C) of a decoded image.
        size: side of the square that images are fitted to; None keeps them as they are.
        settings: of the decoder.
    """

    def __init__(self, image_shape: Sequence[int], size: int | None, settings: stores.Decoding):
        self.image_shape = tuple(image_shape)
        self.size = size
        self.settings = settings

    def images(self, data, read=None):
        """Decodes the bytes that `read` finds for elements of `data`, string `[B]`, to uint8 `[B, H, W, C]`."""

        def decode(data):
            if read:  # of files, whose names warnings say
                found = [self._decoded(read(path), os.fsdecode(path)) for path in data]
            else:
                found = [self._decoded(each) for each in data]
            shapes = np.array([image.shape for image in found], np.int64).reshape(-1, 3)
            if self.size is None and (shapes != self.image_shape).any():
                raise ValueError(f"expected images of one shape {self.image_shape}. Received: several.")
            return np.concatenate([np.zeros(0, np.uint8), *(image.ravel() for image in found)]), shapes

        # Once a batch: calls from a pipeline to Python cost more than decoding a small image.
        flat, shapes = tf.numpy_function(decode, [data], [tf.uint8, tf.int64])
        if self.size is None:
            return tf.reshape(flat, (-1, *self.image_shape))
        shapes = tf.ensure_shape(shapes, (None, 3))

        def fitted(inputs):
            end, shape = inputs
            image = tf.reshape(flat[end - tf.reduce_prod(shape) : end], shape)
            image = images.fitted(tf.ensure_shape(image, (None, None, self.image_shape[-1])), self.size)
            return tf.ensure_shape(image, self.image_shape)

        ends = tf.cumsum(tf.reduce_prod(shapes, axis=-1))
        return tf.map_fn(fitted, (ends, shapes), fn_output_signature=tf.TensorSpec(self.image_shape, tf.uint8))

    def decoded(self, data, name):
        """Decodes an image, bytes, without fitting it; an error names the image."""
        try:
            return self._decoded(data, name)
        except decoding.Refused as error:
            received = f"{name} ({error.received}); {error.remedy}"
            raise ValueError(f"load: expected {error.expected}. Received: {received}.") from None

    def _decoded(self, data, name=""):
        return decoding.decoded(data, self.image_shape[-1], self.settings.max_pixels, self.settings.white, name)

    def explain(self, data, name):
        """Raises a ValueError that says why an image, bytes, cannot be used."""
        shape = tuple(self.decoded(data, name).shape)
        if self.size is None and shape != self.image_shape:
            raise ValueError(
                f"load: expected images of one shape {self.image_shape}. Received: {name} of {shape}; "
                "pass `size` to fit all images to one square."
            )


def _reason(error):
    """The message of TensorFlow's error without the names of its graph: {{node ...}} before it, [Op:...] after it."""
    return re.sub(r"\{\{.*?\}\}|\[Op:.*?\]", "", getattr(error, "message", str(error))).strip(" .\n")


class Files(_OnDisk):
    """Image files; a `zoo.data.stores.Store`.

    Args:
        paths: paths of the files.
        labels: np.int64 `[n]`, or None.
        channels: 1 or 3.
        size: side of the square that images are fitted to; None if all have the shape of the first.
        settings: of the decoder.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: np.ndarray | None,
        channels: int,
        size: int | None = None,
        settings: stores.Decoding = stores.AS_STATED,
    ):
        self._decoder = _Decoder((size or 0, size or 0, channels), size, settings)
        self.paths = np.asarray(paths, dtype=object)
        self.labels = labels
        if size is None:
            self._decoder.image_shape = tuple(self._decoder.decoded(*self._read(0)).shape)
        self.spec = {"image": (self._decoder.image_shape, "uint8"), "label": ((), "int32")}

    @functools.cached_property
    def _tensors(self):
        labels = np.full(len(self.paths), -1) if self.labels is None else self.labels
        with tf.init_scope(), tf.device("CPU:0"):
            return tf.constant(self.paths, tf.string), tf.constant(labels, tf.int32)

    def batch(self, positions: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the examples at `positions`, int64 `[B]`."""
        paths, labels = self._tensors
        pixels = self._decoder.images(tf.gather(paths, positions), lambda path: _bytes(os.fsdecode(path)))
        return {"image": pixels, "label": tf.gather(labels, positions)}

    def explain(self, positions: np.ndarray) -> None:
        """Raises a ValueError that names the first example at `positions` that cannot be read."""
        for position in positions:
            self._decoder.explain(*self._read(position))

    def contents(self, positions: np.ndarray) -> str:
        """Returns a digest of the names of the files at `positions`, and of the sizes of at most 10,000 of them."""
        found = hashlib.sha256("\n".join(self.paths[positions]).encode(errors="surrogateescape"))
        sample = np.sort(seeds.shuffled(len(positions), 0)[:10_000])
        found.update(np.array([os.path.getsize(path) for path in self.paths[positions][sample]], np.int64).tobytes())
        return found.hexdigest()

    def _read(self, position):
        path = self.paths[position]
        try:
            return _bytes(path), f"file={path!r}"
        except OSError as error:
            raise ValueError(f"load: expected a readable file. Received: {error}.") from error


def _bytes(path):
    """The contents of a regular file: a pipe would be waited for, and a device might never end."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"no regular file: {path!r}")
        return file.read()


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image feature of a TFDS dataset.

    Args:
        feature: name of the feature.
        shape: (H, W, C) as stored; H and W may be None if images are fitted to a size.
        channels: 1 or 3, the number of channels to decode.
    """

    feature: str
    shape: tuple[int | None, int | None, int]
    channels: int


class Records(_OnDisk):
    """Examples in the TFRecord files of a prepared TFDS dataset; a `zoo.data.stores.Store`.

    Args:
        index: a `records.Index`.
        pictures: key of an example -> the image feature it is decoded from.
        plain: `tfds.features.FeaturesDict` of the features that come as they are stored, or None. All have a static
            shape.
        label: name of the label feature, or None.
        size: side of the square that images are fitted to, or None.
        settings: of the decoder.
    """

    def __init__(
        self,
        index: records.Index,
        pictures: Mapping[str, Picture],
        plain: Any,
        label: str | None,
        size: int | None = None,
        settings: stores.Decoding = stores.AS_STATED,
    ):
        self.index = index
        self._label_key = label
        self._plain = plain
        self._features = {key: picture.feature for key, picture in pictures.items()}
        self._decoders, self.spec = {}, {}
        for key, picture in pictures.items():
            height, width, _ = picture.shape
            shape: Any = (height, width, picture.channels) if size is None else (size, size, picture.channels)
            self._decoders[key] = _Decoder(shape, size, settings)
            self.spec[key] = (shape, "uint8")
        for key, feature in (plain or {}).items():
            self.spec[key] = (tuple(feature.shape), np.dtype(feature.np_dtype).name)
        self.spec["label"] = ((), "int32")

    @functools.cached_property
    def labels(self) -> np.ndarray | None:
        """np.int64 `[n]`, or None; takes one pass over the files."""
        if self._label_key is None:
            return None
        found = []
        for start in range(0, len(self.index), 4096):
            positions = np.arange(start, min(start + 4096, len(self.index)))
            found.append(self._parsed(tf.constant(self.index.read(positions)), images=False)[1].numpy())
        return np.concatenate(found)

    def batch(self, positions: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the examples at `positions`, int64 `[B]`."""
        serialized = tf.numpy_function(self.index.read, [positions], tf.string)
        serialized = tf.ensure_shape(serialized, (None,))
        encoded, labels = self._parsed(serialized)
        examples = {key: decoder.images(encoded[key]) for key, decoder in self._decoders.items()}
        if self._plain is not None:
            signature = {key: tf.TensorSpec(*self.spec[key]) for key in self._plain}
            examples |= tf.map_fn(self._plain_features, serialized, fn_output_signature=signature)
        return examples | {"label": tf.cast(labels, tf.int32)}

    def explain(self, positions: np.ndarray) -> None:
        """Raises a ValueError that names the first example at `positions` that cannot be read."""
        for position in positions:
            file, data = self.index.path(position), self.index.read([position])
            name = f"record {position} of the dataset, in {file!r}"
            try:
                encoded, _ = self._parsed(tf.constant(data))
                if self._plain is not None:
                    self._plain.deserialize_example(data[0])
            except tf.errors.OpError as error:
                raise ValueError(f"load: expected a TFDS example. Received: {name} ({_reason(error)}).") from error
            for key, decoder in self._decoders.items():
                decoder.explain(encoded[key][0].numpy(), f"{self._features[key]} of {name}")

    def _plain_features(self, serialized):
        """Returns the features of one serialized example that come as they are stored."""
        plain = self._plain.deserialize_example(serialized)
        return {key: tf.ensure_shape(value, self.spec[key][0]) for key, value in plain.items()}

    def _parsed(self, serialized, images=True):
        """Parses serialized examples `[B]` to a dict of encoded images, string `[B]` each, and labels, int64 `[B]`."""
        features = self._features if images else {}
        spec = {feature: tf.io.FixedLenFeature([], tf.string) for feature in features.values()}
        if self._label_key is not None:
            spec[self._label_key] = tf.io.FixedLenFeature([], tf.int64)
        parsed = tf.io.parse_example(serialized, spec) if spec else {}
        label = parsed[self._label_key] if self._label_key else tf.fill(tf.shape(serialized), tf.constant(-1, tf.int64))
        return {key: parsed[feature] for key, feature in features.items()}, label
