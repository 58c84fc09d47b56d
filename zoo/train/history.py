"""The records of a run: metrics, pictures, progress, checkpoints, and `run.json`."""

import dataclasses
import json
import logging
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from zoo import engine, files
from zoo.methods import evaluation
from zoo.train import checkpoint, diagnosis, logs, progress
from zoo.train import task as tasks

_logger = logging.getLogger(__name__)

_SHOWN = 8  # images whose views are shown


@dataclasses.dataclass
class Window:
    """The scalars since the last record.

    Attributes:
        count: number of steps.
        sums: sum of every scalar over these steps.
    """

    count: int = 0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)

    def add(self, part: Mapping[str, float], count: int) -> None:
        """Adds the sums over `count` further steps."""
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in part.items()}
        self.count += count

    def means(self) -> dict[str, float]:
        """Returns the means over the steps."""
        return {name: value / self.count for name, value in self.sums.items()}


class History:
    """Writes the records of a run; a context manager. On workers that are not the chief it writes nothing.

    Args:
        workdir: folder of the run.
        start: step from which the run continues.
        record: contents of `run.json`, except for time and progress.
        before: contents of the present `run.json`, {} if there is none.
        task: the task that is trained.
        data: a `zoo.data.sources.Source`, the training data.
        chief: whether this worker is the chief.

    Attributes:
        workdir: folder of the run.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        start: int,
        record: dict[str, Any],
        before: Mapping[str, Any],
        task: tasks.Task,
        data: Any,
        chief: bool,
    ):
        self.workdir = workdir
        self._path, self._record, self._task = workdir / "run.json", record, task
        self._started = self._clock = time.monotonic()
        self._clock_step = start
        self._seconds = before.get("seconds", 0.0)
        self._record["command"] = record["command"] or before.get("command", "")
        interrupted = before.get("done") == start and before.get("window")
        self.window = Window(**interrupted) if interrupted else Window()
        self._views: Callable | None = None
        self._examples: dict[str, np.ndarray] = {}
        if chief and task.views is not None:
            self._views = engine.current().occasional(task.views_of)
            sample = data.sample(_SHOWN)
            self._examples = sample.examples(np.arange(sample.size))
        self._logs = logs.Logs(workdir, start) if chief else None
        self._doctor = diagnosis.Doctor()
        for earlier in logs.read(workdir / "metrics.jsonl") if chief else ():
            self._doctor.see(earlier)  # what it said then is known
        self.progress = progress.Progress(record["steps"], start, record["batch_size"], task.steps_per_epoch, chief)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.progress.close()
        if self._logs:
            self._logs.close()

    def scalars(self, now: int, means: Mapping[str, float]) -> None:
        """Records the means of the scalars since the last record.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        if not np.isfinite(means["loss"]):
            raise FloatingPointError(
                f"run: expected a finite loss. Received: loss={means['loss']} between steps {self._clock_step} and "
                f"{now}; lower the learning rate (`base` of the schedule) or lengthen the warm-up."
            )
        clock = time.monotonic()
        speed = (now - self._clock_step) * self._record["batch_size"] / max(clock - self._clock, 1e-9)
        self._clock, self._clock_step = clock, now
        self.window = Window()
        if self._logs:
            self._logs.scalars(now, means, {"images_per_second": speed})
            self._doctor.see({"step": now, **means})
        self.progress.update(now, means)

    def show_views(self, now: int) -> None:
        """Writes the first images and their views to TensorBoard."""
        if self._logs is None or self._views is None:
            return
        views = self._views(self._examples, np.asarray(now, "int32"))
        pictures = [values / np.float32(255) for values in self._examples.values() if tasks.is_map(values)]
        self._logs.views(now, [*pictures, *(ops.convert_to_numpy(view) for view in views)])

    def evaluate(self, run: evaluation.Run, evaluators: Sequence[evaluation.Evaluator]) -> dict[str, float]:
        """Runs the evaluators, records and returns their results, and warns of what the doctor finds."""
        found: dict[str, float] = {}
        for evaluator in evaluators:
            found.update({name: float(value) for name, value in evaluator(self._task.method, run).items()})
        if self._logs is None:
            return found
        self._logs.scalars(run.step, found)
        self.progress.update(run.step, found)
        for finding in self._doctor.see({"step": run.step, **found}):
            _logger.warning("The doctor at %s", finding)
        self.show_views(run.step)
        self._clock = time.monotonic()  # evaluation does not count as training time
        return found

    def save(self, now: int, checkpoints: checkpoint.Checkpoints, variables: Sequence) -> None:
        """Writes all earlier records to disk, then a checkpoint and `run.json`."""
        if self._logs is None:
            return
        self._logs.sync()
        checkpoints.save(now, variables)
        seconds = self._seconds + time.monotonic() - self._started
        record = {**self._record, "done": now, "seconds": round(seconds, 1)}
        if self.window.count:
            record["window"] = dataclasses.asdict(self.window)
        files.write(self._path, json.dumps(record, indent=1) + "\n")
