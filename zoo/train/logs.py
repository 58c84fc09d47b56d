"""What a run writes down: `metrics.jsonl`, bit for bit the same for a resumed run, and TensorBoard events beside it."""

import json
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from zoo import files
from zoo.train import events, pictures

_logger = logging.getLogger(__name__)


class Logs:
    """The records of one run, written by one process.

    Args:
        workdir: folder of the run.
        step: the step that the run continues from; records of later steps, made by a run that died, are dropped.
    """

    def __init__(self, workdir: str | os.PathLike, step: int):
        self._path = pathlib.Path(workdir) / "metrics.jsonl"
        self._drop_after(step)
        self._file = open(self._path, "a")  # noqa: SIM115, open for the length of the run
        try:
            self._events = events.Events(pathlib.Path(workdir) / "tensorboard")
        except (OSError, ImportError) as error:
            self._give_up(error)

    def _drop_after(self, step):
        if not self._path.exists():
            return
        kept = []
        for line in self._path.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except ValueError:
                continue  # the half-written last line of a run that died
        files.write(self._path, "".join(kept))

    def scalars(self, step: int, values: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> None:
        """Records scalars after `step` steps; `timing` goes to TensorBoard alone, since no two runs agree on it."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        self._show("scalars", step, {**values, **(timing or {})})

    def views(self, step: int, views: Sequence) -> None:
        """Shows view batches in TensorBoard, a row for every image; whatever `pictures.legible` takes."""
        self._show("picture", step, "views", pictures.sheet(views))

    def sync(self) -> None:
        """Makes sure that what was recorded is on the disk, before a checkpoint claims the step."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._show("flush")

    def close(self) -> None:
        """Ends the records."""
        self._file.close()
        self._show("close")

    def _show(self, method, *arguments):
        """Has `events.Events` write. They are for looking at: where they cannot be written, the run goes on without."""
        if self._events is None:
            return
        try:
            getattr(self._events, method)(*arguments)
        except (OSError, ImportError) as error:
            self._give_up(error)

    def _give_up(self, error):
        _logger.warning("No more TensorBoard events are written: %s", error)
        self._events = None
