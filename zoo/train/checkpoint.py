"""Checkpoints: all variables in one NumPy archive, written atomically and restored completely or not at all.

The file is an uncompressed `.npz`, which every engine can read. The comment at its end is the SHA-256 of everything
before, so that any wrong byte is recognized. It holds arrays only, never pickled objects; a key is the position and the
path of a variable.
"""

import hashlib
import json
import logging
import os
import pathlib
import re
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from zoo import checks

_logger = logging.getLogger(__name__)

_META = "meta"
_DIGITS = 64  # of the digest


class _Damaged(Exception):
    """The contents of a file are not what was written."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: folder of the checkpoints, made when the first is saved.
        keep: number of most recent checkpoints to keep, at least 1.
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 3):
        checks.integers("Checkpoints", keep=keep)
        self.folder = pathlib.Path(folder)
        self.keep = keep

    def files(self) -> list[pathlib.Path]:
        """Returns the paths of the checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*.npz"))

    def save(self, step: int, variables: Sequence) -> None:
        """Writes a checkpoint after `step` steps, then deletes all but the most recent `keep`.

        Raises:
            OSError: the checkpoint cannot be written, for example because the disk is full. No partial file is left.
        """
        arrays = {_key(i, v): np.asarray(ops.convert_to_numpy(v)) for i, v in enumerate(variables)}
        meta = json.dumps({"format": 2, "step": int(step)}).encode()
        members: dict[str, Any] = {_META: np.frombuffer(meta, np.uint8), **arrays}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:09d}.npz"
        part = path.with_suffix(".part")
        try:
            with open(part, "w+b") as file:
                np.savez(file, **members)
                with zipfile.ZipFile(file, "a") as archive:
                    archive.comment = b"0" * _DIGITS
                digest = _digest(file)
                file.seek(-_DIGITS, os.SEEK_END)
                file.write(digest)
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
        """Sets the variables to the most recent complete checkpoint.

        Args:
            variables: the variables that were saved, in the same order.
            rest: whether the checkpoint may hold further variables after these, such as an optimizer's.

        Returns:
            The step of the checkpoint, or None if there is none.

        Raises:
            ValueError: the checkpoint holds other variables, or every checkpoint is damaged.
        """
        if not self.files():
            return None
        path, step, arrays = self._latest()
        if rest:
            arrays = dict(list(arrays.items())[: len(variables)])
        _check(path, arrays, variables)
        for variable, array in zip(variables, arrays.values(), strict=True):
            variable.assign(array)
        return step

    def latest(self) -> tuple[int, dict[str, np.ndarray]]:
        """Returns the step of the most recent complete checkpoint, and its arrays by the path of their variable.

        Raises:
            ValueError: there is no checkpoint, or every checkpoint is damaged.
        """
        _, step, arrays = self._latest()
        return step, {key.partition(":")[2]: array for key, array in arrays.items()}

    def _latest(self):
        files = self.files()
        for path in reversed(files):
            try:
                return path, *_read(path)
            except _Damaged as error:
                _logger.warning("Checkpoint %s is damaged (%s); falling back to the previous one.", path, error)
        raise ValueError(
            f"Checkpoints: expected a complete checkpoint in {self.folder}. Received: {len(files)} damaged files; "
            "move them away to start from scratch."
        )


def check_finite(step: int, variables: Sequence) -> None:
    """Raises FloatingPointError if a variable is not finite, from which a run could not recover.

    Args:
        step: number of steps done.
        variables: the variables that are about to be evaluated or saved.
    """
    wrong = [v.path for v in variables if not np.isfinite(np.asarray(ops.convert_to_numpy(v))).all()]
    if wrong:
        raise FloatingPointError(
            f"run: expected finite variables. Received: {len(wrong)} others after step {step}, first {wrong[0]}; "
            "lower the learning rate (`base` of the schedule) or lengthen the warm-up."
        )


def _key(index, variable):
    return f"{index:05d}:{variable.path}"


def unnumbered(key: str) -> str:
    """Returns a key or path without the numbers that Keras appends to names of layers.

    The numbers depend on the layers made before.

    Optimizers include the path of a variable in the name of its slot, as in `LARS/dense_1_kernel_momentum`. Variables
    whose names differ only in these numbers are still told apart by position, shape and type.
    """
    return re.sub(r"_\d+(?=[_/]|$)", "", key)


def _digest(file):
    """Returns the SHA-256, in hexadecimal digits, of a binary file without its last `_DIGITS` bytes."""
    left = file.seek(0, os.SEEK_END) - _DIGITS
    file.seek(0)
    found = hashlib.sha256()
    while left > 0:
        block = file.read(min(left, 2**20))
        found.update(block)
        left -= len(block)
    return found.hexdigest().encode()


def _read(path):
    """Returns the step and the arrays of a checkpoint.

    Raises:
        _Damaged: the file is not what was written.
        OSError: the disk or the permissions are at fault, not the file, which another worker may be able to read.
    """
    with open(path, "rb") as file:
        if _digest(file) != file.read():
            raise _Damaged("its contents do not have the digest at its end")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            meta = json.loads(archive[_META].tobytes())
            return meta["step"], {name: archive[name] for name in archive.files if name != _META}


def _kind(dtype):
    """Returns the name of a dtype, `int` for both int32 and int64, between which engines differ."""
    return "int" if str(dtype) in ("int32", "int64") else str(dtype)


def _check(path, arrays, variables):
    """Raises ValueError, with the first difference, if a checkpoint holds other variables."""
    saved = [(unnumbered(name), array.shape, _kind(array.dtype)) for name, array in arrays.items()]
    wanted = [(unnumbered(_key(i, v)), tuple(v.shape), _kind(v.dtype)) for i, v in enumerate(variables)]
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
