"""Where examples are kept: in memory, in image files, or in TFRecord files; all give batches by position.

A store has `image_shape` (H, W, C), `fallible` (whether reading can fail), `labels` (np.int64 or None), `in_memory`
(whether decoded images are kept, as `pixels`), `stream` (the module that makes batches of it),
`batch(positions int64 [B]) -> {"image": uint8 [B, H, W, C], "label": int64 [B]}` in a tf.data pipeline, and
`explain(positions)`, which raises a ValueError that names the first example among them that cannot be read.
"""

import functools
import re

import numpy as np
import tensorflow as tf

from zoo.data import images, stream


class Memory:
    """Decoded images.

    Args:
        pixels: uint8 tensor `[n, H, W, C]` on the host.
        labels: np.int64 `[n]`, or None.
    """

    fallible = False
    in_memory = True
    stream = stream

    def __init__(self, pixels, labels):
        with tf.device("CPU:0"):
            self._pixels = pixels = tf.convert_to_tensor(pixels)
        self.labels = labels
        self.image_shape = tuple(pixels.shape[1:])
        with tf.device("CPU:0"):
            self._labels = tf.constant(np.full(len(pixels), -1) if labels is None else labels, tf.int64)

    @property
    def pixels(self):
        """np.uint8 `[n, H, W, C]`, read-only: the tensor's own memory."""
        return np.asarray(memoryview(self._pixels))

    def batch(self, positions):
        """Positions, int64 `[B]`, to images and labels."""
        return {"image": tf.gather(self._pixels, positions), "label": tf.gather(self._labels, positions)}


class _Decoder:
    """Decodes images of one kind.

    Args:
        image_shape: (H, W, C) of a decoded image.
        size: side of the square to fit images to; None keeps them as they are.
        stored: number of channels in every encoded image; None if they differ.
    """

    def __init__(self, image_shape, size, stored):
        self.image_shape = tuple(image_shape)
        self.size = size
        self.stored = stored

    def image(self, data):
        """Bytes, string `[]`, to uint8 `[H, W, C]`."""
        image = images.decoded(data, self.image_shape[-1], self.stored)
        if self.size is not None:
            image = images.fitted(image, self.size)
        return tf.ensure_shape(image, self.image_shape)

    def decoded(self, data, name):
        """The image before it is fitted; an error names it."""
        try:
            return images.decoded(data, self.image_shape[-1], self.stored)
        except (tf.errors.OpError, ValueError) as error:
            # TensorFlow wraps its reason in names of its graph: {{node ...}} before, [Op:...] behind.
            reason = re.sub(r"\{\{.*?\}\}|\[Op:.*?\]", "", getattr(error, "message", str(error))).strip(" .\n")
            raise ValueError(
                "load: expected a whole JPEG, PNG, BMP, GIF or WebP image. "
                f"Received: {name} ({reason}); repair or remove it."
            ) from None

    def explain(self, data, name):
        """Raises a ValueError that says why an image, bytes, cannot be used."""
        shape = tuple(self.decoded(data, name).shape)
        if self.size is None and shape != self.image_shape:
            raise ValueError(
                f"load: expected images of one shape {self.image_shape}. Received: {name} of {shape}; "
                "pass `size` (`sources.load.size` in gin) to fit all to one square."
            )


class Files:
    """Image files.

    Args:
        paths: strings.
        labels: np.int64 `[n]`, or None.
        channels: 1 or 3.
        size: side of the square to fit images to; None if all have the shape of the first.
    """

    fallible = True
    in_memory = False
    stream = stream

    def __init__(self, paths, labels, channels, size=None):
        self._decoder = _Decoder((size, size, channels), size, None)
        self.paths = np.asarray(paths, dtype=object)
        self.labels = labels
        if size is None:
            self._decoder.image_shape = tuple(self._decoder.decoded(*self._read(0)).shape)
        self.image_shape = self._decoder.image_shape

    @functools.cached_property
    def _tensors(self):
        labels = np.full(len(self.paths), -1) if self.labels is None else self.labels
        with tf.init_scope(), tf.device("CPU:0"):
            return tf.constant(self.paths, tf.string), tf.constant(labels, tf.int64)

    def batch(self, positions):
        """Positions, int64 `[B]`, to images and labels."""
        paths, labels = self._tensors
        spec = tf.TensorSpec(self.image_shape, tf.uint8)
        pixels = tf.map_fn(
            lambda path: self._decoder.image(tf.io.read_file(path)),
            tf.gather(paths, positions),
            fn_output_signature=spec,
        )
        return {"image": pixels, "label": tf.gather(labels, positions)}

    def explain(self, positions):
        """Raises a ValueError that names the first of these examples that cannot be read."""
        for position in positions:
            self._decoder.explain(*self._read(position))

    def _read(self, position):
        path = self.paths[position]
        try:
            with open(path, "rb") as file:
                return file.read(), f"file={path!r}"
        except OSError as error:
            raise ValueError(f"load: expected a readable file. Received: {error}.") from error


class Records:
    """Images in the TFRecord files of a prepared TFDS dataset; several of an example are joined along their channels.

    Args:
        index: a `records.Index`.
        pictures: name of an image feature -> its (H, W, C) as stored, and the 1 or 3 channels to decode. All have one
            height and width, which may be None if `size` is given.
        label: name of the label feature, or None.
        size: side of the square to fit images to, or None.

    Attributes:
        channels: name of an image feature -> how many of the channels are its.
    """

    fallible = True
    in_memory = False
    stream = stream

    def __init__(self, index, pictures, label, size=None):
        self.index = index
        self._label_key = label
        self._decoders = {}
        for key, ((height, width, stored), channels) in pictures.items():
            shape = (height, width, channels) if size is None else (size, size, channels)
            self._decoders[key] = _Decoder(shape, size, stored)
        self.channels = {key: decoder.image_shape[-1] for key, decoder in self._decoders.items()}
        height, width, _ = next(iter(self._decoders.values())).image_shape
        self.image_shape = (height, width, sum(self.channels.values()))

    @functools.cached_property
    def labels(self):
        """np.int64 `[n]`, or None; takes one pass over the files."""
        if self._label_key is None:
            return None
        found = []
        for start in range(0, len(self.index), 4096):
            positions = np.arange(start, min(start + 4096, len(self.index)))
            found.append(self._parse(tf.constant(self.index.read(positions)), images=False)[1].numpy())
        return np.concatenate(found)

    def batch(self, positions):
        """Positions, int64 `[B]`, to images and labels."""
        serialized = tf.numpy_function(self.index.read, [positions], tf.string)
        encoded, labels = self._parse(tf.ensure_shape(serialized, (None,)))
        spec = tf.TensorSpec(self.image_shape, tf.uint8)
        return {"image": tf.map_fn(self._image, encoded, fn_output_signature=spec), "label": labels}

    def explain(self, positions):
        """Raises a ValueError that names the first of these examples that cannot be read."""
        for position in positions:
            file, data = self.index.path(position), self.index.read([position])
            name = f"record {position} of the dataset, in {file!r}"
            try:
                encoded, _ = self._parse(tf.constant(data))
            except tf.errors.OpError as error:
                raise ValueError(f"load: expected a TFDS example. Received: {name} ({error.message}).") from error
            for key, decoder in self._decoders.items():
                decoder.explain(encoded[key][0], f"{key} of {name}")

    def _image(self, encoded):
        """Dict of bytes, string `[]` each, to uint8 `[H, W, C]`."""
        parts = [decoder.image(encoded[key]) for key, decoder in self._decoders.items()]
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)

    def _parse(self, serialized, images=True):
        """Serialized examples `[B]` to a dict of encoded images, string `[B]` each, and labels, int64 `[B]`."""
        spec = {key: tf.io.FixedLenFeature([], tf.string) for key in self._decoders} if images else {}
        if self._label_key is not None:
            spec[self._label_key] = tf.io.FixedLenFeature([], tf.int64)
        parsed = tf.io.parse_example(serialized, spec)
        label = parsed[self._label_key] if self._label_key else tf.fill(tf.shape(serialized), tf.constant(-1, tf.int64))
        return {key: parsed[key] for key in self._decoders if images}, label
