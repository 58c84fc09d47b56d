"""Measures what a memory costs per step: time and extra memory of the queue and of the bank, against copying them.

zoo-bench --out=saved_models/tables/memory.json

Each measurement has a process of its own. A step compares eight queries with the candidates, then enters a batch:
`bare` leaves the latter out, `in_place` is how methods do it, `copied` writes the whole store anew, as `keras.ops`
alone would. `extra` is by how much the peak exceeds what the process held before the first step, in MB: a step that
copies the store needs at least the store's own size. Run it on an otherwise idle machine (Linux).
"""

import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

from absl import flags

from zoo.tools import config

FLAGS = flags.FLAGS
# Kind, rows: MoCo's queue on ImageNet and a sixteenth of it; a bank of ImageNet and one of the queue's size.
STORES = (("queue", 4096), ("queue", 65536), ("bank", 65536), ("bank", 1281167))


def define_flags():
    """Defines this program's flags."""
    flags.DEFINE_integer("width", 128, "Of the embeddings.", lower_bound=1)
    flags.DEFINE_integer("batch", 256, "Rows that a step enters.", lower_bound=1)
    flags.DEFINE_integer("steps", 50, "Steps that are timed.", lower_bound=2)
    flags.DEFINE_string("out", None, "JSON file to write.")
    flags.DEFINE_string(
        "only", None, "kind,rows,bare|in_place|copied: measures this in the present process and prints it."
    )


def step_of(kind, rows, width, batch, how):
    """The step of a fresh store, a compiled function of ids and embeddings of a batch."""
    import tensorflow as tf
    from keras import ops

    from zoo.methods import memory

    if kind == "queue":
        store = memory.Queue(rows, width)

        def compared(ids, queries):
            return ops.sum(ops.matmul(queries, ops.transpose(store.candidates(ids[:8])[0])))

        def copied(ids, values):
            index = (memory.whole(store.pointer) + ops.arange(batch))[:, None]
            store.keys.assign(ops.scatter_update(store.keys, index, values))
            store.ids.assign(ops.scatter_update(store.ids, index, ids))
            store.pointer.assign((memory.whole(store.pointer) + batch) % rows)

        def in_place(ids, values):
            store.push(values, ids)
    else:
        store = memory.Bank(rows, width)

        def compared(ids, queries):
            return ops.sum(ops.matmul(queries, ops.transpose(store.sample(ids, 4096, per_image=False)[0])))

        def copied(ids, values):
            moved = store.momentum * ops.take(store.rows, ids, axis=0) + (1 - store.momentum) * values
            store.rows.assign(ops.scatter_update(store.rows, ids[:, None], ops.normalize(moved, axis=-1)))
            store.draws.assign(store.draws + 1)

        in_place = store.update
    enter = {"in_place": in_place, "copied": copied, "bare": lambda ids, values: None}

    @tf.function(autograph=False)
    def step(ids, values):
        total = compared(ids, values[:8])
        with tf.control_dependencies([total]):
            enter[how](ids, values)
        return total

    return step


def held(name, process="self"):
    """A line of what Linux says of a process' memory, in MB: `VmRSS` now, `VmHWM` at most."""
    text = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) / 1024


def measure(kind, rows, how):
    """Median milliseconds of a step, and the extra memory in MB; `how` as in the module's text."""
    import numpy as np
    import tensorflow as tf

    width, batch = FLAGS.width, FLAGS.batch
    random = np.random.default_rng(0)
    values = random.normal(size=(batch, width)).astype("float32")
    values = tf.constant(values / np.linalg.norm(values, axis=1, keepdims=True))

    def batches(rows):
        return [tf.constant(random.choice(rows, batch, replace=False).astype("int32")) for _ in range(FLAGS.steps)]

    small = step_of(kind, batch, width, batch, how)
    for ids in batches(batch)[:2]:  # whatever is loaded once is loaded here
        float(small(ids, values))
    step, times = step_of(kind, rows, width, batch, how), []
    step.get_concrete_function(ids, values)
    # Making the store took more than is held now: the kernel is told to forget that peak.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = held("VmRSS")
    for ids in batches(rows):
        began = time.perf_counter()
        float(step(ids, values))
        times.append(1000 * (time.perf_counter() - began))
    return {"ms": statistics.median(times[1:]), "extra": max(held("VmHWM") - before, 0.0)}


def main(argv):
    """Measures every store."""
    del argv
    if FLAGS.only:
        kind, rows, how = FLAGS.only.split(",")
        print(json.dumps(measure(kind, int(rows), how)))
        return 0
    found = []
    flagged = [f"--width={FLAGS.width}", f"--batch={FLAGS.batch}", f"--steps={FLAGS.steps}"]
    for kind, rows in STORES:
        row = {"store": kind, "rows": rows, "width": FLAGS.width, "store_mb": round(rows * FLAGS.width * 4 / 2**20, 1)}
        for how in ("bare", "in_place", "copied"):
            command = [sys.executable, "-m", "zoo.tools.bench", *flagged, f"--only={kind},{rows},{how}"]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            result = json.loads(output.splitlines()[-1])
            row |= {f"{how}_ms": round(result["ms"], 2), f"{how}_extra_mb": round(result["extra"], 1)}
        found.append(row)
        print(json.dumps(row), flush=True)
    if FLAGS.out:
        from zoo.hub import files

        place = pathlib.Path(FLAGS.out).expanduser()
        place.parent.mkdir(parents=True, exist_ok=True)
        hardware = f"{os.cpu_count()} CPU cores, {platform.machine()}"
        record = {"command": config.command("zoo-bench", FLAGS), "hardware": hardware, "rows": found}
        files.write(place, json.dumps(record, indent=1) + "\n")
        print(f"Wrote {place}.")
    return 0


def cli():
    """The program `zoo-bench`."""
    define_flags()
    config.launch(main)


if __name__ == "__main__":
    cli()
