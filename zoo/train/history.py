"""What a run tells the world: metrics, pictures, progress, checkpoints and the record of the run."""

import json
import time

import numpy as np
from keras import ops

from zoo import engine, files
from zoo.train import logs, progress


def first(data, count):
    """The first images of the data, as a batch."""
    rows = np.arange(min(count, data.size))
    return {"image": data.fetch(rows), "id": data.ids[rows].astype(np.int32)}


class History:
    """The story of one run; silent on workers that are not the chief. A context manager.

    Args:
        workdir: folder of the run.
        start: the step that the run continues from.
        record: what `run.json` says beside time and progress.
        learner: the method that is trained.
        show: whether this worker is the chief.
    """

    def __init__(self, workdir, start, record, learner, show):
        self._path, self._record, self._learner, self._show = workdir / "run.json", record, learner, show
        self._began = self._clock = time.monotonic()
        self._clock_step = start
        before = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._seconds = before.get("seconds", 0.0)
        self._record["command"] = record["command"] or before.get("command", "")
        self._views = None
        self._logs = logs.Logs(workdir, start) if show else None
        self.progress = progress.Progress(record["steps"], start, record["batch_size"], show)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.progress.close()
        if self._show:
            self._logs.close()

    def scalars(self, now, means):
        """Records the means of the steps since the last record; refuses a loss that is not finite."""
        if not np.isfinite(means["loss"]):
            raise FloatingPointError(
                f"run: expected a finite loss. Received: loss={means['loss']} between steps {self._clock_step} and "
                f"{now}; lower the learning rate (`schedules.WarmupCosine.base`) or lengthen the warm-up."
            )
        clock = time.monotonic()
        speed = (now - self._clock_step) * self._record["batch_size"] / max(clock - self._clock, 1e-9)
        self._clock, self._clock_step = clock, now
        if self._show:
            self._logs.scalars(now, means, {"images_per_second": speed})
        self.progress.update(now, means)

    def show_views(self, now, on_replica, data):
        """Puts the first images and their views into TensorBoard."""
        if not self._show:
            return
        if self._views is None:
            self._views = engine.current().occasional(
                lambda images, ids, step: on_replica.make_views({"image": images, "id": ids}, step)
            )
        batch = first(data, 8)
        views = self._views(batch["image"], batch["id"], np.asarray(now, "int32"))
        self._logs.views(now, [batch["image"] / np.float32(255), *(ops.convert_to_numpy(view) for view in views)])

    def evaluate(self, now, evaluators, on_replica, data):
        """Runs the evaluators and records what they found."""
        if not self._show:
            return
        found = {}
        for evaluator in evaluators:
            found.update({name: float(value) for name, value in evaluator(self._learner, now).items()})
        self._logs.scalars(now, found)
        self.progress.update(now, found)
        self.show_views(now, on_replica, data)
        self._clock = time.monotonic()  # evaluation is not training time

    def save(self, now, saved, variables):
        """Writes a checkpoint and the record of the run, after the records that lead up to it."""
        if not self._show:
            return
        self._logs.sync()
        saved.save(now, variables)
        seconds = self._seconds + time.monotonic() - self._began
        files.write(
            self._path, json.dumps({**self._record, "done": now, "seconds": round(seconds, 1)}, indent=1) + "\n"
        )
