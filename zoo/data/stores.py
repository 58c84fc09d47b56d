"""Where examples are kept: in memory, in image files, or in TFRecord files; all give batches by position.

A store has `image_shape` (H, W, C), `fallible` (whether reading can fail), `labels` (np.int64 or None),
`batch(positions int64 [B]) -> {"image": uint8 [B, H, W, C], "label": int64 [B]}` in a tf.data pipeline, and
`explain(positions)`, which raises a ValueError that names the first example among them that cannot be read.
"""

import functools
import re

import numpy as np
import tensorflow as tf

from zoo.data import images


class Memory:
    """Decoded images.

    Args:
        pixels: uint8 tensor `[n, H, W, C]` on the host.
        labels: np.int64 `[n]`, or None.
    """

    fallible = False

    def __init__(self, pixels, labels):
        self._pixels = pixels
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


class _Encoded:
    """What the stores of encoded images share.

    Args:
        image_shape: (H, W, C) of a decoded image.
        size: side of the square to fit images to; None keeps them as they are.
        stored: number of channels in every encoded image; None if they differ.
    """

    fallible = True

    def __init__(self, image_shape, size, stored):
        self.image_shape = tuple(image_shape)
        self.size = size
        self.stored = stored

    def _image(self, data):
        """Bytes, string `[]`, to uint8 `[H, W, C]`."""
        image = images.decoded(data, self.image_shape[-1], self.stored)
        if self.size is not None:
            image = images.fitted(image, self.size)
        return tf.ensure_shape(image, self.image_shape)

    def _images(self, data, read=tf.identity):
        """What `read` makes bytes, `[B]`, to uint8 `[B, H, W, C]`."""
        spec = tf.TensorSpec(self.image_shape, tf.uint8)
        return tf.map_fn(lambda one: self._image(read(one)), data, fn_output_signature=spec)

    def _decoded(self, data, name):
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

    def _explain(self, data, name):
        shape = tuple(self._decoded(data, name).shape)
        if self.size is None and shape != self.image_shape:
            raise ValueError(
                f"load: expected images of one shape {self.image_shape}. Received: {name} of {shape}; "
                "pass `size` (`sources.load.size` in gin) to fit all to one square."
            )


class Files(_Encoded):
    """Image files.

    Args:
        paths: strings.
        labels: np.int64 `[n]`, or None.
        channels: 1 or 3.
        size: side of the square to fit images to; None if all have the shape of the first.
    """

    def __init__(self, paths, labels, channels, size=None):
        super().__init__((size, size, channels), size, None)
        self.paths = np.asarray(paths, dtype=object)
        self.labels = labels
        if size is None:
            self.image_shape = tuple(self._decoded(*self._read(0)).shape)

    @functools.cached_property
    def _tensors(self):
        labels = np.full(len(self.paths), -1) if self.labels is None else self.labels
        with tf.init_scope(), tf.device("CPU:0"):
            return tf.constant(self.paths, tf.string), tf.constant(labels, tf.int64)

    def batch(self, positions):
        """Positions, int64 `[B]`, to images and labels."""
        paths, labels = self._tensors
        pixels = self._images(tf.gather(paths, positions), read=tf.io.read_file)
        return {"image": pixels, "label": tf.gather(labels, positions)}

    def explain(self, positions):
        """Raises a ValueError that names the first of these examples that cannot be read."""
        for position in positions:
            self._explain(*self._read(position))

    def _read(self, position):
        path = self.paths[position]
        try:
            with open(path, "rb") as file:
                return file.read(), f"file={path!r}"
        except OSError as error:
            raise ValueError(f"load: expected a readable file. Received: {error}.") from error


class Records(_Encoded):
    """Images in the TFRecord files of a prepared TFDS dataset.

    Args:
        index: a `records.Index`.
        keys: names of the image feature and of the label feature (or None).
        stored: (H, W, C) as stored; H and W may be None if `size` is given.
        channels: 1 or 3.
        size: side of the square to fit images to, or None.
    """

    def __init__(self, index, keys, stored, channels, size=None):
        height, width, stored_channels = stored
        shape = (height, width, channels) if size is None else (size, size, channels)
        super().__init__(shape, size, stored_channels)
        self.index = index
        self._image_key, self._label_key = keys

    @functools.cached_property
    def labels(self):
        """np.int64 `[n]`, or None; takes one pass over the files."""
        if self._label_key is None:
            return None
        found = []
        for start in range(0, len(self.index), 4096):
            positions = np.arange(start, min(start + 4096, len(self.index)))
            found.append(self._parse(tf.constant(self.index.read(positions)), image=False)["label"].numpy())
        return np.concatenate(found)

    def batch(self, positions):
        """Positions, int64 `[B]`, to images and labels."""
        serialized = tf.numpy_function(self.index.read, [positions], tf.string)
        parsed = self._parse(tf.ensure_shape(serialized, (None,)))
        return {"image": self._images(parsed["image"]), "label": parsed["label"]}

    def explain(self, positions):
        """Raises a ValueError that names the first of these examples that cannot be read."""
        for position in positions:
            file, data = self.index.path(position), self.index.read([position])
            name = f"record {position} of the dataset, in {file!r}"
            try:
                parsed = self._parse(tf.constant(data))
            except tf.errors.OpError as error:
                raise ValueError(f"load: expected a TFDS example. Received: {name} ({error.message}).") from error
            self._explain(parsed["image"][0], name)

    def _parse(self, serialized, image=True):
        spec = {self._image_key: tf.io.FixedLenFeature([], tf.string)} if image else {}
        if self._label_key is not None:
            spec[self._label_key] = tf.io.FixedLenFeature([], tf.int64)
        parsed = tf.io.parse_example(serialized, spec)
        label = parsed[self._label_key] if self._label_key else tf.fill(tf.shape(serialized), tf.constant(-1, tf.int64))
        return {"image": parsed.get(self._image_key), "label": label}
