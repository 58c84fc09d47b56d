"""One candidate of a benchmark in a process of its own: made once, then asked for one timed round at a time.

python worker.py SOURCE FUNCTION '{"size": 32}'

SOURCE is a file of `peers` or the name of a module of ours; FUNCTION is called with the settings and returns a pair:
`run`, a function without arguments that does the work, and `check`, which makes of a result the numbers in which all
candidates must agree, or None. Standard library only, as it also runs in the peers' environments (Linux).

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
    """A line of what Linux says of a process' memory, in MB: `VmRSS` now, `VmHWM` at most."""
    text = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) / 1024


def forget_peak():
    """Makes Linux count this process' peak anew."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def busy():
    """CPU seconds of this process and of its children that have ended."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def loaded(source):
    """The module of a name, or of a file, which finds those beside it."""
    sys.path.pop(0)  # the folder of this file
    if not source.endswith(".py"):
        return importlib.import_module(source)
    sys.path.insert(0, str(pathlib.Path(source).parent))
    spec = importlib.util.spec_from_file_location(pathlib.Path(source).stem, source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def failure(error):
    """What an error says, in one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


def answers(run, check):
    """Yields the answer to every request that comes."""
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
            yield {"check": check and [float(each) for each in check(result)], "seconds": seconds}
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
    # What libraries print must not come between the answers.
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(answer):
        told.write(json.dumps(answer) + "\n")
        told.flush()

    settings = json.loads(settings)
    limit = settings.pop("limit_mb", None)
    if limit:
        # An allocation that does not fit shall fail here, and not have the system end some process.
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 2**20),) * 2)
    began = time.perf_counter()
    try:
        run, check = getattr(loaded(source), function)(**settings)
        tell({"ready": time.perf_counter() - began})
        for answer in answers(run, check):
            tell(answer)
    except Exception as error:
        tell({"missing": failure(error)})
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
