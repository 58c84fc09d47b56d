"""Measures the zoo against other libraries, its peers, on the same work in the same run.

tools/peers                                              # installs the peers, once
zoo-bench --out=saved_models/tables/bench.json --plots=saved_models/tables/growth.svg
zoo-bench --topics=losses,start                          # some topics; others in --out are kept

Every candidate runs in its own process, and candidates take turns, round by round. A ratio divides the peer's cost by
the zoo's cost in the same round; the table has its median and quartiles, and a ratio above 1 means that the zoo is
cheaper. Results are reported only if the candidates' outputs agree. Run the program on an otherwise idle Linux machine;
`machine_load` records how busy it was. Rows of peers that are not installed say so.
"""

import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

from absl import flags

from zoo.tools import config
from zoo.tools.benches import accelerator, ceilings, runner
from zoo.tools.benches.worker import held  # noqa: F401, part of the interface

FLAGS = flags.FLAGS
# Topic -> module of `benches`, and its function that returns the groups. A topic takes about ten minutes at most.
TOPICS = {
    "training": ("training", "groups"),
    "training_large": ("training", "large"),
    "methods": ("methods", "groups"),
    "accelerator": ("accelerator", "groups"),
    "views": ("views", "groups"),
    "losses": ("losses", "groups"),
    "losses_large": ("losses", "large"),
    "memories": ("memories", "groups"),
    "evaluation": ("evaluation", "groups"),
    "serving": ("serving", "groups"),
    "start": ("start", "groups"),
    "growth": ("growth", "groups"),
}
PACKAGES = ("tensorflow", "tensorflow-cpu", "jax", "keras", "numpy", "torch", "torchvision", "lightly", "faiss-cpu",
            "scikit-learn", "onnxruntime")  # fmt: skip
ENVIRONMENTS = ("torch", "faiss", "sklearn", "onnxruntime")
_VERSIONS = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def define_flags():
    """Defines this program's flags."""
    flags.DEFINE_list("topics", list(TOPICS), f"Comma-separated topics to measure, out of {', '.join(TOPICS)}.")
    flags.DEFINE_integer("rounds", 7, "Number of timed rounds per candidate, after two untimed ones.", lower_bound=1)
    flags.DEFINE_string("out", None, "JSON file to write; topics already in it that are not measured again are kept.")
    flags.DEFINE_string(
        "peers",
        os.environ.get("PEERS", "~/.cache/contrastive-zoo/peers"),
        "Folder of the peers' environments, which the script tools/peers makes.",
    )
    flags.DEFINE_bool("quick", False, "Measure tiny sizes in one round, to try out the program.")
    flags.DEFINE_string("plots", None, "SVG or PNG file for curves of how costs grow; needs the topic growth.")


def hardware():
    """Returns a description of the machine."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    wide = next((label for flag, label in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in text), "")
    parts = [*accelerator.gpus(), f"{os.cpu_count()} CPU cores", platform.machine(), name and name[1].strip(), wide]
    return ", ".join(part for part in parts if part)


def versions(peers):
    """Returns the versions of packages in this environment and in the peers' environments that exist."""
    pythons = [pathlib.Path(sys.executable), *(peers / name / "bin" / "python" for name in ENVIRONMENTS)]
    found = {"python": platform.python_version()}
    for python in pythons:
        if python.exists():
            output = subprocess.run([python, "-c", _VERSIONS, *PACKAGES], capture_output=True, text=True, check=True)
            found = {**json.loads(output.stdout), **found}
    return dict(sorted(found.items()))


def _ceilings(module, peers, quick):
    """Returns the workers of the ceilings, from the topic's module or by default for a CPU, and their work in a run."""
    made = getattr(module, "ceilings", ceilings.ceilings)(quick)
    workers = [runner.Worker(candidate, peers) for candidate, _ in made.values()]
    for worker in workers:
        worker.ask("first")
    return workers, {name: work for name, (_, work) in made.items()}


def topic(name, peers, rounds, quick):
    """Measures a topic and returns its record."""
    module = importlib.import_module(f"zoo.tools.benches.{TOPICS[name][0]}")
    groups = getattr(module, TOPICS[name][1])(quick)
    workers, work = _ceilings(module, peers, quick) if any(group.flop or group.moved for group in groups) else ((), {})
    done, least, curves = [], {}, []
    try:
        for group in groups:
            found, tops = runner.measured(group, peers, rounds, workers)
            least |= {ceiling: min(seconds, least.get(ceiling, seconds)) for ceiling, seconds in tops.items()}
            done.append((group, found))
            if name == "growth":
                curves.append(module.points(group, found))
            for row in runner.rows(*done[-1], *_rates(work, least)) or curves[-1:]:
                print(json.dumps(row, ensure_ascii=False), flush=True)
    finally:
        for worker in workers:
            worker.end()
    if curves:
        return {"curves": curves}
    peak, copied = rates = _rates(work, least)
    tops = {"gflop_per_second": peak, "gb_per_second": copied}
    rows = [row for result in done for row in runner.rows(*result, *rates)]
    return {"ceilings": {unit: float(f"{value / 1e9:.4g}") for unit, value in tops.items() if value}, "rows": rows}


def _rates(work, least):
    """Returns the highest operations and bytes per second of the ceilings, None for a ceiling that was not measured."""
    return [work[name] / least[name] if name in least else None for name in ("arithmetic", "copying")]


def main(argv):
    """Measures the chosen topics."""
    del argv
    unknown = [name for name in FLAGS.topics if name not in TOPICS]
    if unknown:
        raise ValueError(f"zoo-bench: expected --topics among {', '.join(TOPICS)}. Received: {', '.join(unknown)}.")
    peers = pathlib.Path(FLAGS.peers).expanduser()
    out = FLAGS.out and pathlib.Path(FLAGS.out).expanduser()
    record = json.loads(out.read_text()) if out and out.exists() else {}
    for name in FLAGS.topics:
        busy = round(os.getloadavg()[0], 1)  # other load makes all results worse
        measured = topic(name, peers, 1 if FLAGS.quick else FLAGS.rounds, FLAGS.quick)
        record[name] = {
            "command": config.command("zoo-bench", FLAGS, "peers"),
            "hardware": hardware(),
            "machine_load": busy,
            "versions": versions(peers),
            **measured,
        }
        if out:
            from zoo import files

            out.parent.mkdir(parents=True, exist_ok=True)
            ordered = {topic_name: record[topic_name] for topic_name in TOPICS if topic_name in record}
            files.write(out, json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
            print(f"Wrote {out}.", flush=True)
    if FLAGS.plots and "growth" in record:
        from zoo.tools.benches import growth

        growth.draw(record["growth"]["curves"], pathlib.Path(FLAGS.plots).expanduser())
    return 0


def cli():
    """Runs the program `zoo-bench`."""
    define_flags()
    config.launch(main)


if __name__ == "__main__":
    cli()
