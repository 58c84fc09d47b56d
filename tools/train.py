"""Trains an encoder as configured by gin files.

zoo-train --gin_file=runs/simclr_digits.gin --workdir=runs/digits
zoo-train --gin_file=runs/simclr_digits.gin --gin_param='loop.run.epochs = 20' --workdir=/tmp/twenty
zoo-train --gin_file=runs/simclr_digits.gin --dry_run

The same command with the same workdir resumes an interrupted run from its most recent checkpoint. On SIGINT (Ctrl-C),
SIGTERM or SIGUSR1, the notices of schedulers, the program saves after the present steps and exits with status 75: start
it again. A second signal ends it at once.

A run starts from the weights of a published encoder or of another run with --init_from, and continues with more epochs
with --lengthen; the learning rate then follows the schedule of the longer run.

The doctor warns in one line, within 200 steps, of what is wrong with a run, and names the binding to change.

With --strategy=multi_worker, start the program once per worker, with TF_CONFIG set, the same flags, and a workdir that
all workers share. When a worker dies, the others exit with status 75; start all of them again.

With KERAS_BACKEND=jax in the environment, the program trains on JAX, without TensorFlow, on data that `zoo-data export`
wrote. Both engines read and write the same checkpoints.
"""

import os
import pathlib
import shlex
import signal
import sys

from absl import flags, logging

from zoo.tools import config

FLAGS = flags.FLAGS
RESTART = 75  # EX_TEMPFAIL in sysexits.h: try again
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def define_flags():
    """Defines this program's flags."""
    config.define_gin_flags()
    flags.DEFINE_string(
        "workdir",
        None,
        "Folder for the checkpoints, metrics.jsonl and TensorBoard events of the run; it is made if missing. Required "
        "unless --dry_run is given.",
    )
    flags.DEFINE_enum(
        "strategy",
        "default",
        ["default", "mirrored", "multi_worker", "tpu"],
        "How to divide the batch: `default` uses one device, `mirrored` all devices of this machine, `multi_worker` "
        "the machines listed in TF_CONFIG, `tpu` the cores of a TPU.",
    )
    flags.DEFINE_string("tpu", "", "Name or address of the TPU for --strategy=tpu; empty for the local one.")
    flags.DEFINE_integer(
        "logical_cpus",
        0,
        "Number of logical devices to divide the CPU into, to try --strategy=mirrored without accelerators; 0 leaves "
        "the CPU undivided.",
        lower_bound=0,
    )
    flags.DEFINE_string(
        "init_from",
        None,
        "Weights to start from: name of a published model, path of a model folder, or workdir of another run; the same "
        "as the gin binding `loop.run.init_from`.",
    )
    flags.DEFINE_bool(
        "lengthen",
        False,
        "Continue the run in the workdir with a larger `loop.run.epochs` than it was started with. The learning rate "
        "then follows the schedule of the longer run.",
    )
    flags.DEFINE_bool("dry_run", False, "Print the configuration and exit without training.")


def main(argv):
    """Trains the configured run."""
    del argv
    import gin

    from zoo import files
    from zoo.train import engines, loop, strategies

    if not FLAGS.workdir and not FLAGS.dry_run:
        raise ValueError("--workdir: expected a folder for the run. Received: none.")
    if FLAGS.logical_cpus:
        strategies.split_cpu(FLAGS.logical_cpus)
    strategy = strategies.strategy(FLAGS.strategy, FLAGS.tpu)
    config.parse(FLAGS.gin_file, FLAGS.gin_param)
    text = gin.config_str()
    if FLAGS.dry_run:
        print(text)
        return 0

    def ready(record):
        config.refuse_unused()
        if engines.engine(strategy).chief:
            folder = pathlib.Path(FLAGS.workdir).expanduser()
            folder.mkdir(parents=True, exist_ok=True)
            files.write(folder / "operative.gin", gin.operative_config_str())
            print(_banner(record), flush=True)

    config.binding("method")
    run = gin.get_configurable(loop.run)
    local = ["workdir", "init_from"] if os.path.exists(FLAGS.init_from or "") else ["workdir"]
    command = config.command("zoo-train", FLAGS, *local)
    arguments = {"workdir": FLAGS.workdir, "strategy": strategy, "config": text, "command": command, "ready": ready}
    arguments |= {"lengthen": FLAGS.lengthen, "interrupted": _signals()}
    if FLAGS.init_from:
        arguments["init_from"] = FLAGS.init_from
    try:
        run(**arguments)
    except loop.Interrupted as stop:
        print(
            f"Stopped after step {stop.step} of {stop.steps}, which is saved. The same command continues.", flush=True
        )
        return RESTART
    except engines.worker_lost() as error:
        reason = next((line for line in reversed(error.message.splitlines()) if line.strip()), "no reason given")
        print(f"error: another worker died ({reason.strip()}); start all workers again.", file=sys.stderr, flush=True)
        logging.flush()
        os._exit(RESTART)  # an orderly exit would wait for the dead worker
    workdir = shlex.quote(FLAGS.workdir)
    print(
        f"Trained. Next: zoo-evaluate --model={workdir} --out={workdir}/judged, or zoo-export --workdir={workdir}; "
        f"curves: tensorboard --logdir={workdir}",
        flush=True,
    )
    return 0


def _banner(record):
    """Returns what is trained, on which data, how long and where."""
    views = ", ".join(" x ".join(map(str, shape)) for shape in record["spec"]["view_shapes"])
    return (
        f"{record['method']}: {record['weights']:,} weights, views of {views or 'vectors'}\n"
        f"data: {record['data']} {record['split']}, {record['examples']:,} examples\n"
        f"steps: {record['steps']:,} of {record['batch_size']} images, {record['epochs']:g} epochs, "
        f"{record['precision']}, seed {record['seed']}\n"
        f"on {record['hardware']}, {record['strategy']} with {record['replicas']} replica(s); workdir: {FLAGS.workdir}"
    )


def _signals():
    """Returns a function that returns whether a signal asked the program to stop."""
    received = []

    def stop(number, frame):
        del frame
        received.append(number)
        for other in _STOPPING:
            signal.signal(other, signal.SIG_DFL)
        print(f"{signal.Signals(number).name}: saving after the present steps.", file=sys.stderr, flush=True)

    for number in _STOPPING:
        signal.signal(number, stop)
    return lambda: bool(received)


def cli():
    """Runs the program `zoo-train`."""
    config.use_onednn()
    define_flags()
    config.launch(main, engine=True)


if __name__ == "__main__":
    cli()
