"""One version of a SavedModel in memory: its signatures, what each takes, and what it answers."""

import dataclasses
import io
import math
import pathlib
import struct

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from zoo.hub import cards
from zoo.serving import status, tensors, warmup_requests

DEFAULT = "serving_default"
IMAGE_FILES = "image_bytes"
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
_HEAD = 1 << 20  # bytes of an image file in which its size must stand
_BLOCKS = 1_000_000  # of a GIF file


@dataclasses.dataclass(frozen=True)
class Spec:
    """Type and shape of a tensor of a signature; None in a shape: any size.

    Args:
        dtype: NumPy type; `object` for strings.
        shape: tuple, or None where the rank is free.
    """

    dtype: np.dtype
    shape: tuple | None

    def admits(self, shape):
        """Whether a shape agrees with this one."""
        if self.shape is None:
            return True
        if len(shape) != len(self.shape):
            return False
        return all(want in (None, size) for want, size in zip(self.shape, shape, strict=True))

    def __str__(self):
        sizes = "any" if self.shape is None else ",".join("?" if size is None else str(size) for size in self.shape)
        return f"{tensors.type_name(self.dtype)} [{sizes}]"


@dataclasses.dataclass(frozen=True)
class Signature:
    """One function of a SavedModel.

    Args:
        name: its name.
        function: the concrete function, tensors by name -> tensors by name.
        inputs: `Spec` by name.
        outputs: `Spec` by name.
    """

    name: str
    function: object
    inputs: dict
    outputs: dict

    @property
    def batched(self):
        """Whether all tensors begin with a free dimension, so that requests can be joined and answers parted.

        Another free dimension of an output must be one of an input, or it is the batch once more: rows against rows.
        """
        inputs, outputs = [[spec.shape for spec in specs.values()] for specs in (self.inputs, self.outputs)]
        if not all(shape and shape[0] is None for shape in (*inputs, *outputs)):
            return False
        return any(None in shape[1:] for shape in inputs) or not any(None in shape[1:] for shape in outputs)


def _spec(tensor):
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return Spec(np.dtype(object) if tensor.dtype == tf.string else np.dtype(tensor.dtype.as_numpy_dtype), shape)


def _signature(name, function):
    return Signature(
        name,
        function,
        {key: _spec(spec) for key, spec in function.structured_input_signature[1].items()},
        {key: _spec(spec) for key, spec in function.structured_outputs.items()},
    )


class Servable:
    """A loaded version. A folder with a card is checked against it before anything of it is opened.

    Args:
        name: name of the model.
        version: its number.
        folder: of the SavedModel.
        warm: whether to replay the warm-up requests that the folder brings.

    Raises:
        ValueError, OSError: a folder that is incomplete, altered or no SavedModel.
    """

    def __init__(self, name, version, folder, warm=True):
        self.name, self.version = name, version
        folder = pathlib.Path(folder)
        if (folder / cards.CARD).is_file():
            cards.opened(folder)
        proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        # Copies: the originals would keep the whole graph.
        definitions = proto.meta_graphs[0].signature_def
        self.definitions = {
            key: type(value).FromString(value.SerializeToString()) for key, value in definitions.items()
        }
        # Kept: the functions do not keep the variables that they use.
        self._loaded = tf.saved_model.load(str(folder))
        self.signatures = {key: _signature(key, function) for key, function in self._loaded.signatures.items()}
        if warm and (folder / warmup_requests.PLACE).is_file():
            for signature, inputs in warmup_requests.read(folder):
                self.run(self.signature(signature), inputs)

    def signature(self, name=None):
        """A signature by name; `ServingError` where there is none."""
        name = name or DEFAULT
        if name not in self.signatures:
            raise status.ServingError(
                "INVALID_ARGUMENT",
                f'Serving signature name: "{name}" not found in signature def. Known: {", ".join(self.signatures)}.'
                f"{cards.nearest(name[:200], self.signatures)}",
            )
        return self.signatures[name]

    def run(self, signature, inputs):
        """Calls a signature.

        Args:
            signature: `Signature`.
            inputs: arrays by name, of the kinds that `check_kind` lets pass.

        Returns:
            arrays by name.

        Raises:
            ServingError: what the model did not accept.
        """
        try:
            outputs = signature.function(**{name: tf.constant(array) for name, array in inputs.items()})
            return {name: outputs[name].numpy() for name in signature.outputs}
        except tf.errors.OpError as error:
            raise status.of_engine(error) from error


def check_names(signature, names):
    """Refuses inputs that are missing or that a signature does not have, in TensorFlow Serving's words."""
    wanted, names = set(signature.inputs), set(names)
    if names != wanted:
        extra, missing = ",".join(sorted(names - wanted)), ",".join(sorted(wanted - names))
        raise status.ServingError(
            "INVALID_ARGUMENT",
            f"input size does not match signature: {len(names)}!={len(wanted)} len({{{','.join(sorted(names))}}}) != "
            f"len({{{','.join(sorted(wanted))}}}). Sent extra: {{{extra}}}. Missing but required: {{{missing}}}.",
        )


def check_kind(signature, name, dtype, shape, limits):
    """Refuses a tensor by its type, shape and size, before its values are read.

    Args:
        signature: `Signature`.
        name: of the input.
        dtype: NumPy type that came, or None for one that NumPy does not have.
        shape: tuple that came.
        limits: `zoo.serving.limits.Limits`.

    Returns:
        Bytes of the tensor.
    """
    spec = signature.inputs[name]
    if dtype != spec.dtype:
        came = "an unknown type" if dtype is None else tensors.type_name(dtype)
        raise status.ServingError("INVALID_ARGUMENT", f"Input {name}: expected {spec}. Received: {came}.")
    if not spec.admits(shape):
        raise status.ServingError(
            "INVALID_ARGUMENT", f"Input {name}: expected {spec}. Received: shape [{','.join(map(str, shape))}]."
        )
    if signature.batched and shape[0] > limits.rows:
        raise status.ServingError(
            "INVALID_ARGUMENT", f"Input {name}: expected at most {limits.rows} rows a request. Received: {shape[0]}."
        )
    size = math.prod(shape) * dtype.itemsize
    if size > limits.tensor_bytes:
        raise status.ServingError(
            "INVALID_ARGUMENT",
            f"Input {name}: expected at most {limits.tensor_bytes} bytes. Received: shape "
            f"[{','.join(map(str, shape))}], {size} bytes.",
        )
    return size


def _frames(data, most):
    """Pixels of all frames of a GIF file, up to `most`: the decoder unpacks each, even to answer with the first."""
    at, pixels, blocks = 13 + _colors(data[10]), 0, 0
    while at < len(data) and data[at] != 0x3B and pixels <= most:
        if data[at] == 0x2C:
            width, height, flags = struct.unpack_from("<HHB", data, at + 5)
            pixels += width * height
            at += 11 + _colors(flags)
        else:
            at += 2
        while at < len(data) and data[at]:
            at += data[at] + 1
            blocks += 1
        if blocks > _BLOCKS:
            raise ValueError("a GIF of too many blocks")
        at += 1
    return pixels


def _colors(flags):
    """Bytes of a GIF file's table of colours."""
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def check_values(inputs, limits):
    """Refuses image files that would unpack to too many pixels, by their headers alone.

    Args:
        inputs: arrays by name; `image_bytes` are image files.
        limits: `zoo.serving.limits.Limits`.
    """
    files = inputs.get(IMAGE_FILES)
    if files is None or files.dtype != object:
        return
    total = 0
    for index, data in enumerate(files.ravel()):
        try:
            # The head is enough, but for WebP: a file may be made of millions of parts that say nothing.
            head = data if data[8:12] == b"WEBP" else data[:_HEAD]
            with Image.open(io.BytesIO(head), formats=_FORMATS) as image:
                frames = _frames(data, limits.pixels) if image.format == "GIF" else 0
                pixels = max(image.width * image.height, frames)
        except Image.DecompressionBombError as error:
            raise status.ServingError(
                "INVALID_ARGUMENT", f"Image {index}: expected at most {limits.pixels} pixels. Received: {error}"
            ) from error
        except (OSError, ValueError, SyntaxError, struct.error) as error:
            raise status.ServingError(
                "INVALID_ARGUMENT",
                f"Image {index}: expected a JPEG, PNG, GIF, BMP or WebP file. Received: {len(data)} bytes that are "
                f"none, starting {data[:8]!r}.",
            ) from error
        total += pixels
        if pixels > limits.pixels or total > limits.request_pixels:
            what = f"{limits.request_pixels} pixels in all. Received: {total}"
            if pixels > limits.pixels:
                what = f"{limits.pixels} pixels. Received: {pixels}"
            raise status.ServingError(
                "INVALID_ARGUMENT",
                f"Image {index}: expected at most {what}; make it smaller first, or raise --max_pixels of the server.",
            )
