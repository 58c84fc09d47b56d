"""Writes the golden files anew, or compares the runs with them.

python -m tests.golden                                     writes what changed
python -m tests.golden --tolerance=1e-6                    compares, and prints the greatest difference of each run
python -m tests.golden --folder=/tmp/before [run ...]      writes some or all elsewhere, such as before a change
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
    parser.add_argument("--tolerance", type=float, help="Compare only, and allow losses this relative difference.")
    parser.add_argument("--folder", type=pathlib.Path, default=compare.FOLDER, help="Folder of the golden files.")
    flags = parser.parse_args()
    unknown = sorted(set(flags.runs) - set(runs.NAMES))
    if unknown:
        parser.error(f"expected names among {', '.join(runs.NAMES)}. Received: {', '.join(unknown)}.")
    failed = False
    for name in flags.runs or runs.NAMES:
        found = {**runs.described(name), **runs.trained(name)}
        if flags.tolerance is None:
            flags.folder.mkdir(parents=True, exist_ok=True)
            compare.path_of(name, flags.folder).write_text(compare.text(found))
            continue
        golden = compare.read(name, flags.folder)
        lines = compare.differences(golden, found, flags.tolerance)
        failed = failed or bool(lines)
        print(f"{name}: greatest relative difference {compare.greatest(golden['losses'], found['losses']):.1e}")
        print("".join(f"  {line}\n" for line in lines), end="", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
