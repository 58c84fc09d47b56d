"""Logs of a run: `metrics.jsonl`, which is identical bit for bit when a run is resumed, and TensorBoard events."""

import json
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from zoo import files
from zoo.train import events
from zoo.views import pictures

_logger = logging.getLogger(__name__)


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Returns the records of a `metrics.jsonl`, [] if there is no such file; incomplete lines are left out."""
    path, records = pathlib.Path(path), []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
            _ = record["step"] + 0
        except (ValueError, KeyError, TypeError):
            continue  # the incomplete last line of an interrupted run
        records.append(record)
    return records


class Logs:
    """Writes the logs of a run, in one process.

    Args:
        workdir: folder of the run.
        step: step from which the run continues; records of later steps, left by an interrupted run, are dropped.
    """

    def __init__(self, workdir: str | os.PathLike, step: int):
        self._path = pathlib.Path(workdir) / "metrics.jsonl"
        self._drop_after(step)
        self._file = open(self._path, "a")  # noqa: SIM115, open for the whole run
        try:
            self._events = events.Events(pathlib.Path(workdir) / "tensorboard")
        except (OSError, ImportError) as error:
            self._give_up(error)

    def _drop_after(self, step):
        if not self._path.exists():
            return
        kept = [json.dumps(record) + "\n" for record in read(self._path) if record["step"] <= step]
        files.write(self._path, "".join(kept))

    def scalars(self, step: int, values: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> None:
        """Records scalars after `step` steps; `timing`, which differs between runs, goes to TensorBoard only."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        self._show("scalars", step, {**values, **(timing or {})})

    def views(self, step: int, views: Sequence) -> None:
        """Writes batches of views, as `pictures.sheet` takes them, to TensorBoard as one picture."""
        self._show("picture", step, "views", pictures.sheet(views))

    def sync(self) -> None:
        """Writes all records to disk; called before a checkpoint that includes their steps."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._show("flush")

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        self._show("close")

    def _show(self, method, *arguments):
        """Calls a method of `events.Events`. A run continues without events if they cannot be written."""
        if self._events is None:
            return
        try:
            getattr(self._events, method)(*arguments)
        except (OSError, ImportError) as error:
            self._give_up(error)

    def _give_up(self, error):
        _logger.warning("The run continues without TensorBoard events, which cannot be written: %s", error)
        self._events = None
