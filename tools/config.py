"""The adapter between gin, flags and the library, for all programs."""

import copy
import importlib.util  # noqa: F401, gin uses it without importing it when a file is missing
import json
import logging as stdlib_logging
import os
import pathlib
import re
import shlex
import sys
import tempfile

import gin
from absl import app, flags, logging
from gin import config_parser

import zoo
from zoo import checks
from zoo.hub import cards
from zoo.tools import missing, stopping

ROOT = "zoo.train.loop.run"


def define_gin_flags():
    """Defines `--gin_file` and `--gin_param`."""
    flags.DEFINE_multi_string(
        "gin_file",
        [],
        "Configuration file in gin's format: a path, or the name of a file shipped with the package, such as "
        "`runs/simclr_digits.gin`. Settings in later files override those in earlier ones.",
    )
    flags.DEFINE_multi_string("gin_param", [], "Setting such as `loop.run.epochs = 20`, which overrides the files.")
    flags.DEFINE_alias("gin_bindings", "gin_param")


def use_onednn(environment=None):
    """Enables oneDNN's kernels in TensorFlow on every CPU, unless the environment says otherwise.

    Call it before TensorFlow is imported. By default TensorFlow uses these kernels only on CPUs with AVX-512 VNNI, but
    they halve the time of a training step on other CPUs, too. Single images take longer, so serving leaves the choice
    to TensorFlow.

    Args:
        environment: environment to change, such as that of a child process; by default that of this process.
    """
    (os.environ if environment is None else environment).setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


# Lines that TensorFlow prints while it is imported, before its own log level holds.
_CHATTER = re.compile(rb"^(WARNING: All log messages before absl|[IW]\d{4} )")


def import_quietly():
    """Imports Keras and its engine without their start-up messages, for programs that need them at once.

    TensorFlow's later messages of the levels INFO and WARNING, such as the end of every data set as "OP_REQUIRES
    failed", are hidden as well, unless TF_CPP_MIN_LOG_LEVEL is set.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            import keras  # noqa: F401
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            printed.seek(0)
            rest = [line for line in printed if not _CHATTER.match(line)]
            os.write(2, b"".join(rest))


def launch(main, engine=False):
    """Runs `main(argv)` under absl; a user's mistake ends it with a message and status 1, without a traceback.

    SIGINT and SIGTERM end it with status 130 and 143, unless the program handles them.

    Args:
        main: the program.
        engine: whether it needs Keras and its engine, which are then imported first.
    """

    def guarded(argv):
        stopping.heed()
        logging.use_absl_handler()
        logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
        # TensorFlow would log every collective that it builds.
        stdlib_logging.getLogger("tensorflow").setLevel("WARNING")
        if len(argv) > 1:
            raise app.UsageError(f"expected flags only. Received: {argv[1:]}.")
        try:
            if engine:
                import_quietly()
            return main(argv)
        except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
            # gin adds the calls that led to the error; of these only a scope tells the user something.
            calls = r"\n\s*In call to configurable '(\w+)' \(<.*?>\)( in scope '[^']+')?"
            message = re.sub(calls, lambda call: f"\n  in {call[1]}{call[2]}" if call[2] else "", str(error))
            message = missing.advice(error) or message
        except KeyboardInterrupt as error:
            return stopping.status(error)
        except Exception as error:
            # tf.data wraps errors from inside it, such as a broken image, in an error with a trace of its own.
            found = re.search(r"(?:ValueError|OSError): (.+?)(?:\n\n|$)", str(error), re.DOTALL)
            message = missing.advice(error) or (found and found.group(1))
            if not message:
                raise
        print(f"error: {message}", file=sys.stderr, flush=True)
        return 1

    # absl takes the console script for the program, and its help would show neither the docstring nor the flags of the
    # module.
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    for module, found in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith("zoo.tools."):
            for flag in found:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(guarded)


def command(program, values, *local):
    """Returns the command line of a program, without the flags in `local`, which are specific to this machine.

    Args:
        program: name of the program.
        values: the program's `absl.flags.FlagValues`.
        *local: names of flags to leave out.
    """
    words = program.split()
    for module, found in values.flags_by_module_dict().items():
        for flag in found if not module.startswith("absl.") else ():
            if flag.present and flag.name not in local and flag.name != "gin_bindings":
                values = flag.value if isinstance(flag.value, list) else [flag.value]
                joined = flag.flag_type() == "comma separated list of strings"
                values = [",".join(values)] if joined else values
                words += [f"--{flag.name}={value}" for value in values]
    return shlex.join(words)


def parse(files, params):
    """Parses gin files and bindings into the global configuration, and locks it.

    Raises:
        FileNotFoundError: a file neither exists nor is shipped with the package.
        ValueError: gin does not know a name or a parameter, or there is no file.
    """
    shipped = _begin()
    # A checkout has `gin/runs/x.gin`, an installed package `runs/x.gin`.
    files = [file if pathlib.Path(file).exists() else file.removeprefix("gin/") for file in files]
    for file in files:
        if not pathlib.Path(file).exists() and not (shipped / file).exists():
            known = sorted(str(path.relative_to(shipped)) for path in shipped.glob("*/*.gin"))
            hint = checks.suggestion(file, known) or f" Known: {known}."
            raise FileNotFoundError(
                f"--gin_file: expected an existing file or one in {shipped}. Received: {file!r}.{hint}"
            )
    if not files:
        raise ValueError("--gin_file: expected at least one file, such as runs/simclr_digits.gin. Received: none.")
    for file in files:
        path = pathlib.Path(file) if pathlib.Path(file).exists() else shipped / file
        _text(path)
        gin.add_config_file_search_path(str(path.parent))  # files that it includes may lie beside it
        _parse("--gin_file", file, lambda file=file: gin.parse_config_file(file))
    for param in params:
        _parse("--gin_param", param, lambda param=param: gin.parse_config(_imports(param) + param))
    gin.finalize()


def _begin():
    """Forgets all bindings; returns the folder of the shipped files, in which gin then looks for what is included."""
    gin.clear_config()
    shipped = cards.shipped("gin")
    gin.config._LOCATION_PREFIXES[:] = [""]
    gin.add_config_file_search_path(str(shipped))
    # gin also looks for files inside importable packages, and fails if the user has a folder with the name of one of
    # the package's, such as `data`. Only plain files are read.
    gin.config._FILE_READERS[:] = gin.config._FILE_READERS[:1]
    return shipped


def _text(path):
    """Returns the text of a file of bindings."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"--gin_file: expected a text in UTF-8. Received: {str(path)!r} ({error}).") from error


def _parse(flag, given, parse_it):
    """Parses a file or a binding; an error names the flag and what was given."""
    expected = "names that exist and bindings `name = value`; a value is a number, a 'string' or a @reference"
    try:
        parse_it()
        return
    except RecursionError:
        expected, reason = "files that do not include each other in a circle", "too many files"
    except Exception as error:  # what is no gin may raise anything, such as tokenize.TokenError
        lines = str(error).splitlines() or [type(error).__name__]
        reason = "\n".join(lines) if flag == "--gin_file" else lines[0]
        reason = re.sub(r"<ast\.\w+ object at \w+>", "a word without quotes", reason)
    raise ValueError(f"{flag}: expected {expected}. Received: {given!r} ({reason}).")


def _imports(binding):
    """Returns the import statements for the modules that a binding names: as in the files, or of the library."""
    imported = {statement.bound_name(): statement for statement in gin.config._IMPORTS}
    lines = ["from __gin__ import dynamic_registration"]
    for name in dict.fromkeys(re.findall(r"(?<![\w.])(?:\w+/)*(\w+)\.\w+", binding)):
        found = [path.parent.name for path in pathlib.Path(zoo.__file__).parent.glob(f"*/{name}.py")]
        if name in imported:
            lines.append(imported[name].format())
        elif found:
            # Of two modules of one name, such as the geometry of views and of objectives, gin's files mean the views'.
            lines.append(f"from zoo.{'views' if 'views' in found else found[0]} import {name}")
    return "\n".join(lines) + "\n" if len(lines) > 1 else ""


def binding(parameter, root=ROOT):
    """Returns the value bound to a parameter of `root`: factories stay factories, `@value()` is evaluated.

    Raises:
        ValueError: the parameter has no binding.
    """
    known = any(name == root for _, name in gin.config._CONFIG)
    bound = gin.get_bindings(root, resolve_references=False) if known else {}
    if parameter not in bound:
        raise ValueError(f"gin: expected a value for `{root.split('.', 2)[-1]}.{parameter}`. Received: none; bind it.")
    return copy.deepcopy(bound[parameter])


def refuse_unused():
    """Raises ValueError for bindings that the run does not use, such as those of a part that it does not contain.

    Raises:
        ValueError: the message names the unused bindings.
    """
    # gin's public interface returns both configurations only as text.
    used = [(scope, name, set(found)) for (scope, name), found in gin.config._OPERATIVE_CONFIG.items()]

    def applied(scope, name, parameter):
        # A binding without a scope, or in an outer one, also applies to calls in the scopes inside.
        return any(
            name == other and parameter in found and (not scope or within == scope or within.startswith(scope + "/"))
            for within, other, found in used
        )

    unused = [
        scope if name == "gin.macro" else f"{scope}/{name}.{parameter}".lstrip("/")
        for (scope, name), parameters in gin.config._CONFIG.items()
        for parameter in parameters
        if not applied(scope, name, parameter)
    ]
    if unused:
        raise ValueError(
            f"gin: expected every binding to be used by the run. Received unused: {sorted(unused)}; remove them, or "
            "bind the part that they configure."
        )


# A method and its networks are made of what these packages define, and nothing in them touches files or processes.
_HARMLESS = ("zoo.methods.", "zoo.models.", "zoo.objectives.", "zoo.views.")


class _Unresolved(config_parser.ParserDelegate):
    """Leaves references and macros unresolved, so that parsing neither looks up nor executes what they name."""

    def configurable_reference(self, scoped_configurable_name, evaluate):
        """Returns nothing in place of a reference."""

    def macro(self, macro_name):
        """Returns nothing in place of a macro."""


def _refuse_foreign_imports(path, text):
    """Raises ValueError if a configuration imports anything but modules of the library: importing executes them.

    gin's own parser finds the statements, since lines do not: `include'x.gin'` needs no space, and an import may go on
    in the next line.
    """
    statements = []

    def read():
        statements.extend(config_parser.ConfigParser(text, _Unresolved()))

    _parse("--gin_file", str(path), read)
    for statement in statements:
        if isinstance(statement, config_parser.IncludeStatement):
            found = f"include {statement.filename!r}"
        elif isinstance(statement, config_parser.ImportStatement):
            if re.fullmatch(r"__gin__\.dynamic_registration|zoo(\.\w+)*", statement.module):
                continue
            found = statement.format()
        else:
            continue
        raise ValueError(
            f"restore: expected a configuration that imports modules of zoo alone. Received: {found!r} in line "
            f"{statement.location.line_num} of {path}; --trust allows and executes it."
        )


def _refuse_foreign_parts():
    """Raises ValueError if the method that is configured is made of anything but methods and networks of the library.

    Names may lead through a module of the library to others, as in `@files.os.system()`.
    """
    bound = {}  # selector -> the values of its parameters, in all scopes
    for (_, selector), parameters in gin.config._CONFIG.items():
        used = [value for parameter, value in parameters.items() if selector != ROOT or parameter == "method"]
        bound.setdefault(selector, []).extend(used)
    seen, waiting = set(), ["gin.macro", ROOT]
    while waiting:
        for found in _configurables(bound.get(waiting.pop(), [])):
            if found.selector in seen:
                continue
            seen.add(found.selector)
            waiting.append(found.selector)
            module = getattr(found.wrapped, "__module__", "") or ""
            if not f"{module}.".startswith(_HARMLESS) and found.selector != "gin.macro":
                raise ValueError(
                    "restore: expected a method and encoders of the library. Received: a reference to "
                    f"{found.selector} ({module or 'no module'}); --trust allows and executes it."
                )


def _configurables(value):
    """Yields the configurables that a value of gin refers to."""
    if isinstance(value, gin.config.ConfigurableReference):
        yield value.configurable
    elif isinstance(value, dict):
        yield from _configurables([*value.keys(), *value.values()])
    elif isinstance(value, (list, tuple, set, frozenset)):
        for part in value:
            yield from _configurables(part)


def restore(workdir, trust=False):
    """Returns the trained method of a workdir, and the record of its run.

    Args:
        workdir: folder written by `zoo-train`.
        trust: whether the configuration may name, and so execute, functions that are not the library's.

    Returns:
        The method with the weights of the most recent complete checkpoint, and the contents of `run.json`, to which
        "config", "done" and "zoo" (the version) are added.
    """
    from zoo.train import checkpoint, loop

    workdir = pathlib.Path(workdir)
    path = workdir / "config.gin"
    if not path.exists() or not (workdir / "run.json").exists():
        raise FileNotFoundError(
            f"restore: expected a training workdir with config.gin and run.json. Received: {workdir}."
        )
    text = _text(path)  # read once: what was looked through is what is parsed
    if not trust:
        _refuse_foreign_imports(path, text)
    _begin()
    gin.add_config_file_search_path(str(path.parent))
    _parse("--gin_file", str(path), lambda: gin.parse_config(text))
    gin.finalize()
    if not trust:
        _refuse_foreign_parts()
    method = binding("method")()
    try:
        record = json.loads((workdir / "run.json").read_text(encoding="utf-8"))
        spec = loop.restored_spec(record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "restore: expected the record of a training run. "
            f"Received: {workdir / 'run.json'} ({type(error).__name__}: {error})."
        ) from error
    method.begin(spec)
    step = checkpoint.Checkpoints(workdir / "checkpoints").restore(method.variables, rest=True)
    if step is None:
        raise FileNotFoundError(f"restore: expected a checkpoint in {workdir / 'checkpoints'}. Received: none.")
    return method, {**record, "done": step, "config": text, "zoo": zoo.__version__}
