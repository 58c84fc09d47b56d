"""Progress of a run: a bar in a terminal, log lines elsewhere; both show the rate and the remaining time."""

import datetime
import logging
import sys
import time
from collections.abc import Mapping

from rich import progress

_logger = logging.getLogger(__name__)

_SHOWN = ("loss", "val_loss")  # in the bar, beside accuracies
_INTERVAL = 10.0  # seconds between log lines


class Progress:
    """Shows the progress of a run.

    Args:
        total: number of steps of the run.
        start: number of steps done before.
        images_per_step: N, number of images in the global batch.
        steps_per_epoch: number of steps in an epoch.
        show: whether anything is shown; False on workers that are not the chief.
    """

    def __init__(self, total: int, start: int, images_per_step: int, steps_per_epoch: int, show: bool = True):
        self._steps_per_epoch = steps_per_epoch
        self._latest: dict[str, float] = {}
        self._total, self._images = total, images_per_step
        self._first = start
        self._began: float | None = None
        self._show, self._shown_at = show, time.monotonic()
        self._bar = None
        if show and sys.stderr.isatty():
            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[rate]}"),
                progress.TimeRemainingColumn(),
                transient=False,
            )
            self._task = self._bar.add_task("training", total=total, completed=start, rate="")
            self._bar.start()

    def update(self, step: int, logs: Mapping[str, float] | None = None) -> None:
        """Shows that `step` steps are done, immediately if there are new scalars `logs`."""
        now = time.monotonic()
        if self._began is None:
            # The first call includes compilation, which the rate leaves out.
            self._began, self._first = now, step
        rate = (step - self._first) * self._images / max(now - self._began, 1e-9)
        epoch = f"epoch {step // self._steps_per_epoch}/{self._total // self._steps_per_epoch}"
        if self._bar:
            self._latest.update(logs or {})
            shown = {name: value for name, value in self._latest.items() if name in _SHOWN or name.endswith("accuracy")}
            self._bar.update(self._task, description=f"{epoch}  {_scalars(shown)}")
            self._bar.update(self._task, completed=step, rate=f"{rate:,.0f} images/s")
        elif self._show and (logs or now - self._shown_at >= _INTERVAL):
            left = (self._total - step) * self._images / rate if rate else None
            eta = "unknown" if left is None else datetime.timedelta(seconds=round(left))
            position = f"{epoch}  step {step}/{self._total}"
            _logger.info("%s  %s  %.0f images/s  ETA %s", position, _scalars(logs or {}), rate, eta)
            self._shown_at = now

    def close(self) -> None:
        """Closes the bar."""
        if self._bar:
            self._bar.stop()


def _scalars(logs):
    return "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
