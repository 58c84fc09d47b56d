"""The one adapter between gin, flags and the library: parse, check, resolve, restore."""

import copy
import difflib
import importlib.util  # noqa: F401, gin uses it without importing it when a file is missing
import json
import logging as stdlib_logging
import pathlib
import sys

import gin
from absl import app, flags, logging

import zoo
from zoo.hub import cards

ROOT = "zoo.train.loop.run"


def define_gin_flags():
    """Defines `--gin_file` and `--gin_param`, as every program here has them."""
    flags.DEFINE_multi_string(
        "gin_file",
        [],
        "A configuration file; may be given several times, later files win. Looked for here and among the shipped "
        "ones: `runs/simclr_digits.gin` or `gin/runs/simclr_digits.gin`.",
    )
    flags.DEFINE_multi_string(
        "gin_param", [], "A binding such as `loop.run.epochs = 20`; may be given several times, wins over every file."
    )
    flags.DEFINE_alias("gin_bindings", "gin_param")


def launch(main):
    """Runs `main(argv)` under absl; a mistake of the user ends with a message and status 1, without a traceback."""

    def guarded(argv):
        logging.use_absl_handler()
        logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
        # TensorFlow tells of every collective that it builds.
        stdlib_logging.getLogger("tensorflow").setLevel("WARNING")
        if len(argv) > 1:
            raise app.UsageError(f"expected flags only. Received: {argv[1:]}.")
        try:
            return main(argv)
        except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
            logging.debug("Traceback:", exc_info=True)  # shown with --verbosity=1
            print(f"error: {error}", file=sys.stderr, flush=True)
            return 1

    app.run(guarded)


def parse(files, params):
    """Parses gin files and bindings into the global configuration, and locks it.

    Raises:
        FileNotFoundError: a file is neither here nor among the shipped ones.
        ValueError: gin's own, for unknown names and parameters.
    """
    gin.clear_config()
    shipped = cards.shipped("gin")
    gin.add_config_file_search_path(str(shipped))
    for file in files:
        if not pathlib.Path(file).exists() and not (shipped / file).exists():
            known = sorted(str(path.relative_to(shipped)) for path in shipped.glob("*/*.gin"))
            close = difflib.get_close_matches(file.removeprefix("gin/"), known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else f" Known: {known}."
            raise FileNotFoundError(f"--gin_file: expected a file here or in {shipped}. Received: {file!r}.{hint}")
    if not files:
        raise ValueError("--gin_file: expected at least one file, such as runs/simclr_digits.gin. Received: none.")
    gin.parse_config_files_and_bindings(files, params, finalize_config=True)


def binding(parameter, root=ROOT):
    """The resolved value of one parameter of the root: factories stay factories, `@value()` is evaluated.

    Raises:
        ValueError: nothing is bound to it.
    """
    bound = gin.get_bindings(root, resolve_references=False)
    if parameter not in bound:
        raise ValueError(f"gin: expected a value for `{root.split('.', 2)[-1]}.{parameter}`. Received: none; bind it.")
    return copy.deepcopy(bound[parameter])


def refuse_unused():
    """Refuses bindings that nothing used: most often a misspelt name or a part that the run does not contain.

    Raises:
        ValueError: names them.
    """
    used = gin.config._OPERATIVE_CONFIG  # gin has no public view of it but the printed one
    unused = [
        f"{'/'.join(filter(None, key))}.{parameter}" if key[1] != "gin.macro" else key[0]
        for key, parameters in gin.config._CONFIG.items()
        for parameter in parameters
        if parameter not in used.get(key, {})
    ]
    if unused:
        raise ValueError(
            f"gin: expected every binding to be used by the run. Received unused: {sorted(unused)}; remove them, or bind "
            "the part that they configure."
        )


def restore(workdir):
    """The trained method of a training workdir, and what is known of the run.

    Args:
        workdir: folder that `zoo-train` wrote.

    Returns:
        The method with the weights of the newest complete checkpoint, and the contents of `run.json` with the
        configuration under "config".
    """
    from zoo.train import checkpoint

    workdir = pathlib.Path(workdir)
    path = workdir / "config.gin"
    if not path.exists() or not (workdir / "run.json").exists():
        raise FileNotFoundError(f"restore: expected a training workdir with config.gin and run.json. Received: {workdir}.")
    parse([str(path)], [])
    method = binding("method")()
    step = checkpoint.Checkpoints(workdir / "checkpoints").restore(method.variables, rest=True)
    record = json.loads((workdir / "run.json").read_text())
    if step is None:
        raise FileNotFoundError(f"restore: expected a checkpoint in {workdir / 'checkpoints'}. Received: none.")
    return method, {**record, "done": step, "config": path.read_text(), "zoo": zoo.__version__}
