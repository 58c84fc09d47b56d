"""A version of a SavedModel in memory: its signatures, what each of them accepts, and its answers."""

import copy
import dataclasses
import math
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from zoo import checks
from zoo.engine import graphs
from zoo.hub import cards
from zoo.serving import limits, status, tensors, warmup_requests

DEFAULT = "serving_default"
IMAGE_FILES = "image_bytes"


@dataclasses.dataclass(frozen=True)
class Spec:
    """Type and shape of a tensor of a signature.

    Args:
        dtype: NumPy type; `object` for strings.
        shape: sizes, None for a free one; None where the rank is free.
    """

    dtype: np.dtype
    shape: tuple | None

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Returns whether a shape agrees with this one."""
        if self.shape is None or len(self.shape) != len(shape):
            return self.shape is None
        return all(wanted in (None, size) for wanted, size in zip(self.shape, shape, strict=True))

    def __str__(self) -> str:
        sizes = "any" if self.shape is None else ",".join("?" if size is None else str(size) for size in self.shape)
        return f"{tensors.type_name(self.dtype)} [{sizes}]"


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function of a SavedModel.

    Args:
        name: of the function.
        function: concrete function, tensors by name -> tensors by name.
        inputs: specs by name.
        outputs: specs by name.
    """

    name: str
    function: Any
    inputs: dict[str, Spec]
    outputs: dict[str, Spec]

    @property
    def batched(self) -> bool:
        """Whether all tensors begin with a free dimension, so that requests can be joined and answers parted.

        Another free dimension of an output must be one of an input, or it is the batch once more: rows against rows.
        """
        inputs, outputs = [[spec.shape for spec in specs.values()] for specs in (self.inputs, self.outputs)]
        if not all(shape and shape[0] is None for shape in (*inputs, *outputs)):
            return False
        free = [any(shape is not None and None in shape[1:] for shape in shapes) for shapes in (inputs, outputs)]
        return free[0] or not free[1]


def _specs(named: dict[str, Any]) -> dict[str, Spec]:
    def spec(tensor: Any) -> Spec:
        shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
        return Spec(np.dtype(object if tensor.dtype == tf.string else tensor.dtype.as_numpy_dtype), shape)

    return {name: spec(tensor) for name, tensor in named.items()}


class Servable:
    """A loaded version. A folder with a card is checked against it before any other file is opened.

    Args:
        name: name of the model.
        version: its number.
        folder: the SavedModel.
        warm: whether to replay the warm-up requests of the folder.

    Raises:
        ValueError, OSError: for a folder that is incomplete, altered or no SavedModel.
    """

    def __init__(self, name: str, version: int, folder: pathlib.Path, warm: bool = True):
        self.name, self.version = name, version
        folder = pathlib.Path(folder)
        if (folder / cards.CARD).is_file():
            cards.opened(folder)
        graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0]
        # Copies: the originals would keep the whole graph.
        self.definitions = {name: copy.deepcopy(value) for name, value in graph.signature_def.items()}
        # Kept, because the functions do not keep the variables that they use.
        self._loaded = graphs.load(folder)
        self.signatures = {
            key: Signature(key, call, _specs(call.structured_input_signature[1]), _specs(call.structured_outputs))
            for key, call in self._loaded.signatures.items()
        }
        if warm and (folder / warmup_requests.PLACE).is_file():
            for signature, inputs in warmup_requests.read(folder):
                self.run(self.signature(signature), inputs)

    def signature(self, name: str | None = None, code: str = "INVALID_ARGUMENT") -> Signature:
        """Returns a signature by name, or the default one; ServingError with `code` where there is none."""
        name = (name or DEFAULT)[:200]
        if name not in self.signatures:
            expected, hint = f"a signature among {', '.join(self.signatures)}", checks.suggestion(name, self.signatures)
            raise status.error(f"Model {self.name}", expected, f"signature_name={name!r}", hint, code)
        return self.signatures[name]

    def run(self, signature: Signature, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls a signature: arrays by name -> arrays by name; ServingError where the model refuses the values."""
        try:
            outputs = signature.function(**{name: tf.constant(array) for name, array in inputs.items()})
            return {name: outputs[name].numpy() for name in signature.outputs}
        except tf.errors.OpError as error:
            raise status.from_tensorflow(error) from error


def check_names(signature: Signature, names: Iterable[str]) -> None:
    """Refuses inputs that are missing or that a signature does not have."""
    if set(names) != set(signature.inputs):
        expected = f"the inputs {', '.join(sorted(signature.inputs))}"
        raise status.error(f"Signature {signature.name}", expected, ", ".join(sorted(names)) or "none")


def check_kind(
    signature: Signature, name: str, dtype: np.dtype | None, shape: tuple[int, ...], bounds: limits.Limits
) -> int:
    """Refuses an input by its type (None: unknown to NumPy), shape and size, before its values are read.

    Returns:
        Bytes of the tensor.
    """
    spec, who, received = signature.inputs[name], f"Input {name}", f"shape [{','.join(map(str, shape))}]"
    if dtype is None or dtype != spec.dtype:
        raise status.error(who, str(spec), "an unknown type" if dtype is None else tensors.type_name(dtype))
    if not spec.admits(shape):
        raise status.error(who, str(spec), received)
    if signature.batched and shape[0] > bounds.rows:
        raise status.error(who, f"at most {bounds.rows} rows", shape[0])
    size = math.prod(shape) * dtype.itemsize
    if size > bounds.tensor_bytes:
        raise status.error(who, f"at most {bounds.tensor_bytes} bytes", f"{received}, {size} bytes")
    return size
