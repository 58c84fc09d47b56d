"""Ends programs on SIGINT (Ctrl-C) and SIGTERM as after an error: what is half done is taken back, and no traceback."""

import signal
import sys

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Stop(KeyboardInterrupt):
    """A signal asked the program to stop.

    Args:
        number: of the signal.
    """

    def __init__(self, number):
        super().__init__()
        self.number = number


def heed():
    """Lets the first signal raise `Stop` in the main thread; a second one ends the process at once."""

    def stop(number, frame):
        del frame
        for other in SIGNALS:
            signal.signal(other, signal.SIG_DFL)
        raise Stop(number)

    for number in SIGNALS:
        signal.signal(number, stop)


def status(error):
    """Says on standard error why the program ends; returns its exit status, 128 and the number of the signal.

    Args:
        error: a `Stop`, or a KeyboardInterrupt from before `heed`.
    """
    number = getattr(error, "number", signal.SIGINT)
    print(SIGNALS[number], file=sys.stderr, flush=True)
    return 128 + number
