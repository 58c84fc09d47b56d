"""The folder of a run: whose it is, with which configuration and data it was started, and a lock while it is used."""

import contextlib
import difflib
import fcntl
import json
import os
import pathlib
import platform
import re
from collections.abc import Iterator
from typing import Any

from zoo import checks, files

_EPOCHS = re.compile(r"[+-](?:[\w.]+\.)?run\.epochs = ")


class Workdir:
    """The folder of a run.

    Args:
        path: the folder, made by `begin`.
        config: text of the configuration; "" if there is none.
        data: fingerprint of the data, see `zoo.data.source.Source.fingerprint`.
        lengthen: whether the run may continue with another number of epochs.
    """

    def __init__(self, path: str | os.PathLike, config: str, data: dict[str, Any], lengthen: bool = False):
        self.path = pathlib.Path(path).expanduser()
        # As it will be read.
        self._config, self._data, self._lengthen = config, json.loads(json.dumps(data)), lengthen

    def check(self, chief: bool = True) -> None:
        """Raises an error if the run cannot use the folder.

        Args:
            chief: whether this worker is the chief, which locks the folder for all.

        Raises:
            ValueError: the folder cannot be written; the run was started with something else, which the message shows;
                or another process uses it.
        """
        existing = next(folder for folder in (self.path, *self.path.resolve().parents) if folder.exists())
        writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
        checks.require(writable, "run", "a `workdir` that can be written", workdir=str(self.path))
        self._check_configuration()
        self._check_data()
        if chief and (self.path / "lock").exists():
            with self.locked():
                pass

    def begin(self) -> None:
        """Makes the folder and records configuration and data."""
        self.path.mkdir(parents=True, exist_ok=True)
        files.write(self.path / "config.gin", self._config)
        files.write(self.path / "data.json", json.dumps(self._data, indent=1) + "\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of the folder, which the system releases when the process ends.

        Raises:
            ValueError: another process holds it.
        """
        with self._opened() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise ValueError(
                    f"run: expected a `workdir` that no other process trains in. Received: {self.path}, used by "
                    f"{file.read().strip() or 'another process'}; wait for it, stop it, or use another workdir."
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
            yield

    def _opened(self):
        """Makes the folder and opens the file of the lock."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return open(self.path / "lock", "a+")
        except OSError as error:
            expected = "run: expected a `workdir` that can be written."
            raise OSError(f"{expected} Received: workdir={str(self.path)!r} ({error.strerror}).") from error

    def record(self) -> dict[str, Any]:
        """Returns the contents of `run.json`, {} if there is none.

        Raises:
            ValueError: the file does not hold the record of a run.
        """
        path = self.path / "run.json"
        if not path.exists():
            return {}
        try:
            found = json.loads(path.read_text())
            _ = found["done"], found["steps"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"run: expected the record of a run. Received: file={str(path)!r} ({type(error).__name__}: {error}); "
                "restore it, or remove it to continue from the last checkpoint without its times."
            ) from error
        return found

    def _check_configuration(self):
        path = self.path / "config.gin"
        before = path.read_text() if path.exists() else self._config
        names = ("the run in the workdir", "this command")
        lines = before.splitlines(), self._config.splitlines()
        changes = list(difflib.unified_diff(*lines, *names, n=0, lineterm=""))
        changed = [line for line in changes[2:] if not line.startswith("@@")]
        if self._lengthen and all(_EPOCHS.match(line) for line in changed):
            return
        if changed:
            lengthen = "; `lengthen` allows another `epochs` alone" if self._lengthen else ""
            raise ValueError(
                f"run: expected the configuration that {self.path} was started with; use another workdir, or undo"
                f"{lengthen}:\n" + "\n".join(changes)
            )

    def _check_data(self):
        path = self.path / "data.json"
        if not path.exists():
            return
        before = json.loads(path.read_text())
        common = before.keys() & self._data.keys()  # an engine may not know everything
        before, after = (_flat({key: data[key] for key in common}) for data in (before, self._data))
        differences = [
            f"{name}: {before.get(name, 'none')} -> {after.get(name, 'none')}"
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ]
        if differences:
            raise ValueError(
                f"run: expected the data that {self.path} was started with; use another workdir, or restore the data. "
                "Received other data (before -> now):\n" + "\n".join(differences)
            )


def _flat(nest, prefix=""):
    """Returns the leaves of nested dictionaries by path."""
    if not isinstance(nest, dict):
        return {prefix: nest}
    return {name: leaf for key in nest for name, leaf in _flat(nest[key], f"{prefix} {key}".strip()).items()}
