"""A program of `zoo.tools` that gets a signal at some moment: stopped.py SIGNAL MOMENT FOLDER PROGRAM [argument ...].

MOMENT is `first`, the first file or folder that is made in FOLDER, `last`, when something there gets its final name, or
`import`, while the program is imported.
"""

import importlib
import os
import signal
import sys

NUMBER, MOMENT, FOLDER, PROGRAM, *ARGUMENTS = sys.argv[1:]
sent = []


def is_moment(event, arguments):
    if MOMENT == "import":
        return event == "import" and arguments[0] in ("tensorflow.python.framework.ops", "numpy.random")
    if MOMENT == "last":
        return event == "os.rename" and str(arguments[1]).startswith(FOLDER)
    writes = event == "open" and isinstance(arguments[1], str) and "r" not in arguments[1]
    is_made = event in ("os.mkdir", "tempfile.mkstemp", "tempfile.mkdtemp") or writes
    return is_made and str(arguments[0]).startswith(FOLDER + os.sep)


def hook(event, arguments):
    if not sent and is_moment(event, arguments):
        sent.append(event)
        os.kill(os.getpid(), signal.Signals[NUMBER])


program = importlib.import_module(f"zoo.tools.{PROGRAM}")
sys.addaudithook(hook)
sys.argv = [f"zoo-{PROGRAM}", *ARGUMENTS]
sys.exit(program.cli())
