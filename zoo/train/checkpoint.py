"""Checkpoints: every variable by position and path in one NumPy archive, written atomically, restored whole or not.

The file is an uncompressed `.npz`, which any engine and any NumPy can read. Its members carry checksums, so that a
damaged file is recognised; it holds arrays only, never pickled objects.
"""

import json
import logging
import os
import pathlib
import re
import zipfile
from collections.abc import Sequence

import numpy as np
from keras import ops

_logger = logging.getLogger(__name__)

_META = "meta"
_DAMAGED = (zipfile.BadZipFile, EOFError, KeyError, OSError, ValueError)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they live; made when the first is saved.
        keep: how many of the newest are kept, at least 1.
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 3):
        if keep < 1:
            raise ValueError(f"Checkpoints: expected `keep` >= 1. Received: keep={keep}.")
        self.folder = pathlib.Path(folder)
        self.keep = keep

    def files(self) -> list[pathlib.Path]:
        """Paths of the checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*.npz"))

    def save(self, step: int, variables: Sequence) -> None:
        """Writes the state after `step` steps; the earlier checkpoints stay until it is complete.

        Raises:
            OSError: when it cannot be written (a full disk, say). Nothing half-written is left.
        """
        arrays = {_key(i, v): np.asarray(ops.convert_to_numpy(v)) for i, v in enumerate(variables)}
        meta = json.dumps({"format": 1, "step": int(step)}).encode()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:09d}.npz"
        part = path.with_suffix(".part")
        try:
            with open(part, "wb") as file:
                np.savez(file, **{_META: np.frombuffer(meta, np.uint8)}, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            last = self.files()
            raise OSError(
                f"Checkpoints: could not write {path}: {error.strerror or error}. "
                f"The last complete one is {last[-1].name if last else 'none'}; make room and run the command again."
            ) from error
        for old in self.files()[: -self.keep]:
            old.unlink()

    def restore(self, variables: Sequence, rest: bool = False) -> int | None:
        """Sets the variables to the newest complete checkpoint.

        Args:
            variables: the variables that were saved, in the same order.
            rest: whether the checkpoint may hold more variables after these, such as an optimizer's.

        Returns:
            Its step, or None where there is no checkpoint.

        Raises:
            ValueError: when it belongs to other variables, or when every checkpoint is damaged.
        """
        files = self.files()
        for path in reversed(files):
            try:
                step, arrays = _read(path)
            except _DAMAGED as error:
                if getattr(error, "errno", None):
                    # The disk or its permissions, not the file: another worker may well be able to read it.
                    raise
                _logger.warning("Checkpoint %s is damaged (%s); falling back to the one before it.", path, error)
                continue
            if rest:
                arrays = dict(list(arrays.items())[: len(variables)])
            _check(path, arrays, variables)
            for variable, array in zip(variables, arrays.values(), strict=True):
                variable.assign(array)
            return step
        if files:
            raise ValueError(
                f"Checkpoints: expected a complete checkpoint in {self.folder}. Received: {len(files)} damaged files; "
                "move them away to start from scratch."
            )
        return None


def _key(index, variable):
    return f"{index:05d}:{variable.path}"


def _unnumbered(key):
    """Returns a key without the numbers that Keras appends to the names of layers: they count the models made before.

    Optimizers make the path of a variable a part of the name of a slot, as in `LARS/dense_1_kernel_momentum`. Position,
    shape and type tell variables apart where only these numbers did.
    """
    return re.sub(r"_\d+(?=[_/]|$)", "", key)


def _read(path):
    with np.load(path, allow_pickle=False) as archive:
        meta = json.loads(archive[_META].tobytes())
        arrays = {name: archive[name] for name in archive.files if name != _META}
    return meta["step"], arrays


def _kind(dtype):
    """The dtype's name; engines count in int32 or int64 as they please."""
    return "int" if str(dtype) in ("int32", "int64") else str(dtype)


def _check(path, arrays, variables):
    """Refuses a checkpoint of other variables, and names the first difference."""
    saved = [(_unnumbered(name), array.shape, _kind(array.dtype)) for name, array in arrays.items()]
    wanted = [(_unnumbered(_key(i, v)), tuple(v.shape), _kind(v.dtype)) for i, v in enumerate(variables)]
    if saved == wanted:
        return
    pairs = list(zip(saved, wanted, strict=False))
    first = next((pair for pair in pairs if pair[0] != pair[1]), None)
    detail = (
        f"the first difference is {first[0]} in the file and {first[1]} in the model" if first else "the rest agree"
    )
    raise ValueError(
        f"Checkpoints: expected a checkpoint of this model ({len(wanted)} variables). Received: {path} with "
        f"{len(saved)} variables; {detail}. Use another workdir, or the configuration that wrote it."
    )
