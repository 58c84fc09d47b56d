"""zoo-train, killed by the system once so many steps are made: python killed.py STEPS --gin_file=... --workdir=...

STEPS may name another signal, as in 20:SIGTERM.

Killed from outside, a small run may end before the signal arrives.
"""

import os
import signal
import sys

from zoo.tools import train
from zoo.train import progress

STEPS, _, NAME = sys.argv.pop(1).partition(":")
UPDATE = progress.Progress.update
sent = []


def update(self, step, logs=None):
    """As `Progress`, and the end of this process where it is due."""
    UPDATE(self, step, logs)
    if step >= int(STEPS) and not sent:
        sent.append(step)
        os.kill(os.getpid(), signal.Signals[NAME or "SIGKILL"])


progress.Progress.update = update
train.cli()
