"""Writes the golden files anew, or compares the runs with them.

python -m tests.golden [run ...]                           writes all or some; numbers that agree stay as they were
python -m tests.golden --tolerance=1e-6 [run ...]          compares, and prints the greatest differences of each run

Before and after a change that is to change nothing, on one machine:

python -m tests.golden --folder=/tmp/before
python -m tests.golden --folder=/tmp/before --tolerance=1e-6
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def main():
    """Writes or compares; returns the exit status."""
    from . import compare, runs

    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", help="Names of files in gin/runs, such as simclr_digits; all by default.")
    parser.add_argument(
        "--tolerance",
        type=float,
        help="Compare only; allow losses this relative difference, trained statistics a thousand times as much.",
    )
    parser.add_argument("--folder", type=pathlib.Path, default=compare.FOLDER, help="Folder of the golden files.")
    parser.add_argument("--anew", action="store_true", help="Also write numbers that agree with those that are there.")
    flags = parser.parse_args()
    unknown = sorted(set(flags.runs) - set(runs.NAMES))
    if unknown:
        parser.error(f"expected names among {', '.join(runs.NAMES)}. Received: {', '.join(unknown)}.")
    failed = False
    for name in flags.runs or runs.NAMES:
        found = {**runs.described(name), **(runs.trained(name) if name in runs.TRAINED else {})}
        path = compare.path_of(name, flags.folder)
        golden = compare.read(name, flags.folder) if path.exists() else None
        if flags.tolerance is None:
            flags.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(compare.text(found if flags.anew or golden is None else compare.kept(golden, found)))
            continue
        if golden is None:
            parser.error(f"expected a golden file of every run. Received: {path}, which does not exist.")
        losses, trained = compare.greatest(golden, found)
        print(f"{name}: greatest relative difference of losses {losses:.1e}, of trained statistics {trained:.1e}")
        lines = compare.differences(golden, found, flags.tolerance, 1000 * flags.tolerance)
        print("".join(f"  {line}\n" for line in lines), end="", flush=True)
        failed = failed or bool(lines)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
