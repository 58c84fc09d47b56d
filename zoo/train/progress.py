"""Progress of a run: a bar in a terminal, log lines elsewhere; both show the rate and the remaining time."""

import datetime
import logging
import sys
import time
from collections.abc import Mapping

from rich import progress

_logger = logging.getLogger(__name__)

_INTERVAL = 10.0  # seconds between log lines


class Progress:
    """Shows the progress of a run.

    Args:
        total: number of steps of the run.
        start: number of steps done before.
        images_per_step: N, number of images in the global batch.
        show: whether anything is shown; False on workers that are not the chief.
    """

    def __init__(self, total: int, start: int, images_per_step: int, show: bool = True):
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
        if self._bar:
            if logs and "loss" in logs:
                self._bar.update(self._task, description=f"loss {logs['loss']:.4f}")
            self._bar.update(self._task, completed=step, rate=f"{rate:,.0f} images/s")
        elif self._show and (logs or now - self._shown_at >= _INTERVAL):
            left = (self._total - step) * self._images / rate if rate else None
            eta = "unknown" if left is None else datetime.timedelta(seconds=round(left))
            _logger.info("step %d/%d  %s  %.0f images/s  ETA %s", step, self._total, _scalars(logs or {}), rate, eta)
            self._shown_at = now

    def close(self) -> None:
        """Closes the bar."""
        if self._bar:
            self._bar.stop()


def _scalars(logs):
    return "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
