"""Runs a candidate of a benchmark in its own process: makes it once, then times rounds on request.

python worker.py SOURCE FUNCTION '{"size": 32}'

SOURCE is a file of `peers` or the name of a module of the zoo. FUNCTION is called with the settings and returns a pair:
`run`, a function without arguments that does the work, and `check`, which turns its result into numbers in which all
candidates must agree, or None. The worker uses only the standard library, because it also runs in the environments of
peers. It needs Linux.

Requests are lines on the standard input, answers are lines of JSON on the standard output:

| request  | answer                                                                           |
|----------|----------------------------------------------------------------------------------|
| -        | `ready`, seconds of the set-up; or `missing`, what it failed at                    |
| first    | `check` and `seconds` of the first, untimed run: tracing and compiling are in it   |
| round N  | `wall` and `cpu` seconds of one of N runs in a row; children's CPU time counts too |
| peak     | `extra_mb`: the most memory that was held since, beyond what the set-up left       |
"""

import gc
import importlib
import importlib.util
import json
import os
import pathlib
import resource
import sys
import time


def held(name, process="self"):
    """Returns the memory of a process in MB, as Linux reports it: `VmRSS` now, `VmHWM` at most."""
    text = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) / 1024


def forget_peak():
    """Resets this process's peak of memory."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def busy():
    """Returns the CPU seconds of this process and of its finished children."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def loaded(source):
    """Returns the module of a name or a file; a file can import the modules beside it."""
    sys.path.pop(0)  # the folder of this file
    if not source.endswith(".py"):
        return importlib.import_module(source)
    sys.path.insert(0, str(pathlib.Path(source).parent))
    spec = importlib.util.spec_from_file_location(pathlib.Path(source).stem, source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def failure(error):
    """Returns the message of an error in one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


def answers(run, check):
    """Yields the answer to every request."""
    before = held("VmRSS")
    for line in sys.stdin:
        request, _, count = line.strip().partition(" ")
        if request == "first":
            gc.collect()
            before = held("VmRSS")
            forget_peak()
            began = time.perf_counter()
            result = run()
            seconds = time.perf_counter() - began
            yield {"check": check and [float(value) for value in check(result)], "seconds": seconds}
            del result
        elif request == "round":
            count, cpu, began = int(count), busy(), time.perf_counter()
            for _ in range(count):
                run()
            yield {"wall": (time.perf_counter() - began) / count, "cpu": (busy() - cpu) / count}
        else:
            yield {"extra_mb": max(held("VmHWM") - before, 0.0)}


def main(source, function, settings):
    """Serves one candidate until its input ends."""
    # Output of libraries must not mix with the answers.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(answer):
        output.write(json.dumps(answer) + "\n")
        output.flush()

    settings = json.loads(settings)
    limit = settings.pop("limit_mb", None)
    if limit:
        # An allocation that does not fit fails here, before the system kills a process.
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 2**20),) * 2)
    began = time.perf_counter()
    try:
        run, check = getattr(loaded(source), function)(**settings)
        send({"ready": time.perf_counter() - began})
        for answer in answers(run, check):
            send(answer)
    except Exception as error:
        send({"missing": failure(error)})
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
