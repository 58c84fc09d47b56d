"""Trains an encoder: flags -> gin -> `zoo.train.loop.run`.

zoo-train --gin_file=runs/simclr_digits.gin --workdir=runs/digits
zoo-train --gin_file=runs/simclr_digits.gin --gin_param='loop.run.epochs = 5' --workdir=/tmp/five
zoo-train --gin_file=runs/simclr_digits.gin --dry_run

Started again with the same workdir, it resumes where the newest checkpoint left off. With --strategy=multi_worker,
start it once per worker, all with the same flags, a workdir that all can reach, and TF_CONFIG set; when a worker dies
the others exit with status 75: start all of them again.

With KERAS_BACKEND=jax in the environment it trains on JAX, which needs no TensorFlow, on data that `zoo-data export`
wrote; both engines read and write the same checkpoints.
"""

import os
import pathlib
import sys

from absl import flags, logging

from zoo.tools import config

FLAGS = flags.FLAGS
RESTART = 75  # what sendmail made the status of "try again"


def define_flags():
    """Defines this program's flags."""
    config.define_gin_flags()
    flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics.jsonl, TensorBoard events.")
    flags.DEFINE_enum(
        "strategy",
        "default",
        ["default", "mirrored", "multi_worker", "tpu"],
        "One device; every device of this machine; several machines by TF_CONFIG; a TPU.",
    )
    flags.DEFINE_string("tpu", "", "Name or address of the TPU; empty for the local one.")
    flags.DEFINE_integer("logical_cpus", 0, "Split the CPU into so many devices, to try --strategy=mirrored anywhere.")
    flags.DEFINE_bool("dry_run", False, "Print the configuration and stop.")


def main(argv):
    """Trains."""
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

    def ready():
        config.refuse_unused()
        if engines.engine(strategy).chief:
            folder = pathlib.Path(FLAGS.workdir).expanduser()
            folder.mkdir(parents=True, exist_ok=True)
            files.write(folder / "operative.gin", gin.operative_config_str())

    run = gin.get_configurable(loop.run)
    command = config.command("zoo-train", FLAGS, "workdir")
    arguments = {"workdir": FLAGS.workdir, "strategy": strategy, "config": text, "command": command, "ready": ready}
    try:
        run(**arguments)
    except engines.worker_lost() as error:
        reason = next((line for line in reversed(error.message.splitlines()) if line.strip()), "no reason given")
        print(f"error: a worker was lost ({reason.strip()}); start all workers again.", file=sys.stderr, flush=True)
        logging.flush()
        os._exit(RESTART)  # an orderly exit would wait for the worker that is gone
    return 0


def cli():
    """The program `zoo-train`."""
    config.use_onednn()
    define_flags()
    config.launch(main)


if __name__ == "__main__":
    cli()
