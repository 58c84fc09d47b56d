"""zoo-train, killed by the system once so many steps are made: python killed.py STEPS --gin_file=... --workdir=...

Killed from outside, a small run may end before the signal arrives. With ONE_NODE set in the environment, it traces
faster, see `reference.one_node`.
"""

import os
import signal
import sys

from zoo.tools import train
from zoo.train import progress

STEPS, UPDATE = int(sys.argv.pop(1)), progress.Progress.update


def update(self, step, logs=None):
    """As `Progress`, and the end of this process where it is due."""
    UPDATE(self, step, logs)
    if step >= STEPS:
        os.kill(os.getpid(), signal.SIGKILL)


if "ONE_NODE" in os.environ:
    from reference import one_node  # imports TensorFlow, which other engines do without

    one_node.install()
progress.Progress.update = update
train.cli()
