"""Progress of a run: a bar in a terminal, plain lines elsewhere, both with rate and remaining time."""

import datetime
import logging
import sys
import time
from collections.abc import Mapping

from rich import progress

_logger = logging.getLogger(__name__)

_QUIET = 10.0  # seconds between plain lines


class Progress:
    """Shows how far a run is.

    Args:
        total: steps of the run.
        start: steps done before.
        images_per_step: size of the global batch.
        show: False shows nothing, for the workers that are not the chief.
    """

    def __init__(self, total: int, start: int, images_per_step: int, show: bool = True):
        self._total, self._images = total, images_per_step
        self._first = start
        self._began: float | None = None
        self._show, self._spoke_at = show, time.monotonic()
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
        """Tells that `step` steps are done; `logs` are the newest scalars, shown at once."""
        now = time.monotonic()
        if self._began is None:
            # The first call compiles the step: it says nothing about the rate of the others.
            self._began, self._first = now, step
        rate = (step - self._first) * self._images / max(now - self._began, 1e-9)
        if self._bar:
            if logs and "loss" in logs:
                self._bar.update(self._task, description=f"loss {logs['loss']:.4f}")
            self._bar.update(self._task, completed=step, rate=f"{rate:,.0f} images/s")
        elif self._show and (logs or now - self._spoke_at >= _QUIET):
            left = (self._total - step) * self._images / rate if rate else None
            eta = "unknown" if left is None else datetime.timedelta(seconds=round(left))
            _logger.info("step %d/%d  %s  %.0f images/s  ETA %s", step, self._total, _scalars(logs or {}), rate, eta)
            self._spoke_at = now

    def close(self) -> None:
        """Ends the bar."""
        if self._bar:
            self._bar.stop()


def _scalars(logs):
    return "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
