"""The training loop: any method, views and data, on TensorFlow or JAX, on one or more devices."""

import contextlib
import dataclasses
import logging
import math
import os
import platform
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from zoo import checks, seeds
from zoo.methods import evaluation
from zoo.methods import method as methods
from zoo.train import checkpoint, diagnosis, engines, extraction, history, optimizers, schedules, start, watch
from zoo.train import task as tasks
from zoo.train import workdir as workdirs

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Rhythm:
    """How often a run logs, evaluates and saves, in steps; None means once per epoch.

    Args:
        log_every: number of steps between records of the scalars, which are means since the last record.
        evaluate_every: number of steps between evaluations, which also show pictures of the views.
        save_every: number of steps between checkpoints.
        keep: number of most recent checkpoints to keep.
        steps_per_call: maximum number of steps between returns to Python; more steps are faster for small networks.
    """

    log_every: int | None = None
    evaluate_every: int | None = None
    save_every: int | None = None
    keep: int = 3
    steps_per_call: int = 10

    def __post_init__(self):
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        checks.integers("Rhythm", **given)


class Interrupted(Exception):
    """The run was interrupted between steps, after it had saved a checkpoint; the same call continues it.

    Args:
        step: number of steps done.
        steps: number of steps of the run.
    """

    def __init__(self, step: int, steps: int):
        super().__init__(f"run: stopped after step {step} of {steps}, which is saved; run it again to continue.")
        self.step, self.steps = step, steps


def run(
    method: Callable[[], methods.Method],
    views: Any,
    data: Any,
    workdir: Any,
    optimizer: Callable = optimizers.LARS,
    schedule: Callable | None = None,
    epochs: float = 100,
    batch_size: int = 256,
    seed: int = 0,
    precision: str = "float32",
    jit_compile: bool = False,
    rhythm: Rhythm | None = None,
    evaluators: Sequence[evaluation.Evaluator] = (),
    callbacks: Sequence = (),
    strategy: Any = None,
    config: str = "",
    command: str = "",
    ready: Callable[[dict[str, Any]], None] | None = None,
    init_from: str | os.PathLike | None = None,
    lengthen: bool = False,
    interrupted: Callable[[], bool] | None = None,
) -> methods.Method:
    """Trains a method, or resumes the run in `workdir`.

    The workdir is locked while it is used, and remembers the configuration and a fingerprint of the data. Resumed, a
    run computes what it would have computed without the interruption, bit for bit.

    Args:
        method: factory of a method, called inside the strategy's scope.
        views: `(images, seed) -> tuple of V image batches`, a `zoo.views.view.Views`; None for data without images.
        data: a `zoo.data.sources.Source`.
        workdir: folder of the run: configuration, checkpoints, metrics, TensorBoard events.
        optimizer: factory of a Keras optimizer, called with `learning_rate`; see `optimizers.by_path` for different
            optimizers of different variables.
        schedule: `(batch_size, steps, steps_per_epoch) -> learning rate`; `schedules.WarmupCosine()` by default.
        epochs: length of the run; an epoch leaves out the images that do not fill a last batch.
        batch_size: N, number of images in the global batch; a multiple of the number of replicas.
        seed: seed of the initial weights, the order of the images, and the views; an integer in [0, 2**64).
        precision: "float32", "bfloat16" or "float16" (with dynamic loss scaling); variables are float32 in any case.
        jit_compile: whether XLA compiles the step: faster on accelerators, slower for convolutions on a CPU. JAX always
            compiles.
        rhythm: how often the run logs, evaluates and saves.
        evaluators: functions `(method, run) -> {name: float}`, in addition to the loop's own `watch.Watch`.
        callbacks: Keras callbacks, or factories of them. Every worker runs them. Their batch methods are called once
            for several steps, see `Rhythm.steps_per_call`.
        strategy: a `tf.distribute.Strategy`, or a list of JAX devices; see `strategies.strategy`. By default the
            current strategy, or the first device.
        config: text of the configuration; a workdir that was started with another text is rejected.
        command: command line that started the run, for `run.json`.
        ready: function that is called after everything is made and before anything is written or trained, with the
            contents of `run.json`; it may raise.
        init_from: weights to start from: name of a published model, path of a model folder, or workdir of another run;
            see `start.initialize`. A run that is resumed continues from its own checkpoint.
        lengthen: whether a finished or interrupted run may continue with more epochs than it was started with. The
            learning rate then follows the schedule of the longer run.
        interrupted: function without arguments that is called between steps; once it returns True, the run saves a
            checkpoint and raises `Interrupted`.

    Returns:
        The trained method.

    Raises:
        ValueError: the arguments are invalid; the workdir holds a run with another configuration, model or data, or is
            used by another process.
        Interrupted: `interrupted` returned True.
        FloatingPointError: the loss or a variable is not finite. The last checkpoint precedes the failure.
    """
    engine = engines.engine(strategy)
    rhythm, schedule = rhythm or Rhythm(), schedule or schedules.WarmupCosine()
    factories = {"method": method, "optimizer": optimizer, "schedule": schedule}
    _check_kinds(factories, views, data, rhythm, evaluators, callbacks, jit_compile)
    _check(data, epochs, batch_size, seed, precision, engine.count)
    engine.check(jit_compile)
    steps_per_epoch = data.size // batch_size
    steps = math.ceil(epochs * steps_per_epoch)
    home = workdirs.Workdir(workdir, config, data.fingerprint(), lengthen)
    home.check(engine.chief)
    before = home.record()
    planned = before.get("steps", steps)
    expected = f"`epochs` for {planned} steps, as before, or `lengthen`"
    checks.require(planned == steps or lengthen, "run", expected, steps=steps)
    done = before.get("done", 0)
    checks.require(done <= steps, "run", f"`epochs` for {done} steps or more, which are done", steps=steps)
    checkpoints = checkpoint.Checkpoints(home.path / "checkpoints", rhythm.keep)
    spec = make_spec(views, data, batch_size, engine.count)

    with _policy(precision):
        engine.set_seed(seed % 2**32)
        with engine.scope():
            learner = method()
            learner.begin(spec)
            _check_method(learner)
            extraction.check(learner, data)
            if init_from is not None and not checkpoints.files():
                count = start.initialize(learner, init_from)
                _logger.info("Starting with %d variables of %s.", count, init_from)
            rate = schedule(batch_size, steps, steps_per_epoch)
            built = optimizers.build(optimizer, rate, precision, learner.trainable_variables)
            learner.optimizer = built  # where Keras callbacks look for it
            learner.built, learner.stop_training = True, False
        task = engine.task(learner, views, built, seed, steps, steps_per_epoch)
        evaluators = (watch.Watch(task, data), *evaluators)
        made = [callback if isinstance(callback, keras.callbacks.Callback) else callback() for callback in callbacks]
        listeners = keras.callbacks.CallbackList(made, model=learner)
        record = _record(learner, data, spec, steps, seed, precision, engine, command)
        if ready:
            ready(record)
        with home.locked() if engine.chief else contextlib.nullcontext():
            if engine.chief:
                home.begin()
            # Weights come from the workdir's most recent complete checkpoint if there is one, otherwise from the
            # method's own initialization, random or published.
            variables = [*learner.variables, *built.variables]
            with engine.scope():
                now = checkpoints.restore(variables) or 0
            engine.check_agreement(now, variables)
            if now:
                _logger.info("Continuing %s at step %d of %d.", home.path, now, steps)
            if planned != steps:
                was = float(schedule(batch_size, planned, steps_per_epoch)(now))
                _logger.info(
                    "The run was planned for %d steps. The learning rate now follows the schedule for %d: it is %.3g "
                    "at step %d, where it would have been %.3g.",
                    *(planned, steps, optimizers.learning_rate(built), now, was),
                )

            record["init_from"] = before.get("init_from") if now else init_from and os.path.basename(init_from)
            with history.History(home.path, now, record, before, task, data, chief=engine.chief) as story:
                listeners.on_train_begin()
                if now < steps:
                    advance = engine.trainer(task, data, batch_size, seed, now, steps, jit_compile)
                    story.show_views(now)
                    given = evaluation.Run(now, steps, steps_per_epoch, views, data, engine, seed, batch_size)
                    to_evaluate = evaluators if engine.chief or made else ()  # callbacks see the same on every worker
                    training = _Training(given, rhythm, learner, listeners, to_evaluate, story)
                    training.run(
                        advance, lambda step: story.save(step, checkpoints, variables), variables, interrupted or _never
                    )
                listeners.on_train_end()
    return learner


def _never():
    """Returns False: no interruption."""
    return False


class _Training:
    """The steps of a run, with everything that is due between them.

    Args:
        given: the run at its first step.
        rhythm: how often something is due.
        learner: the method.
        callbacks: a `keras.callbacks.CallbackList`.
        evaluators: functions `(method, run) -> {name: float}`.
        story: the records of the run.
    """

    def __init__(self, given, rhythm, learner, callbacks, evaluators, story):
        self._given, self._rhythm, self._learner = given, rhythm, learner
        self._callbacks, self._evaluators, self._story = callbacks, evaluators, story
        self._latest: dict[str, float] = {}  # what callbacks see: the last scalars and the last evaluation

    def run(self, advance, save, variables, interrupted):
        """Trains from the first step to the last, or until a callback or `interrupted` stops it."""
        now, steps, steps_per_epoch = self._given.step, self._given.steps, self._given.steps_per_epoch
        rhythm, learner = self._rhythm, self._learner
        extract = extraction.extraction(self._given.data, self._given.engine)
        while now < steps and not learner.stop_training:
            epoch, step_of_epoch = divmod(now, steps_per_epoch)
            if step_of_epoch == 0:
                learner.new_epoch(epoch, extract)
                self._callbacks.on_epoch_begin(epoch)
            now, due = self._until_due(now, advance, interrupted)
            to_evaluate = due and _is_due(now, rhythm.evaluate_every or steps_per_epoch, steps)
            to_save = due and _is_due(now, rhythm.save_every or steps_per_epoch, steps)
            stopped = interrupted()  # once, as a signal may arrive at any time
            to_save = to_save or stopped or learner.stop_training
            if to_evaluate or to_save:
                checkpoint.check_finite(now, variables)  # the loss shows it only one step later
            evaluators = self._evaluators if to_evaluate else self._evaluators[: due and now in diagnosis.ROUNDS]
            if evaluators:
                self._latest.update(self._story.evaluate(self._given._replace(step=now), evaluators))
            if due and (now % steps_per_epoch == 0 or now == steps) or learner.stop_training:
                self._callbacks.on_epoch_end(epoch, dict(self._latest))
            if to_save or learner.stop_training:
                save(now)
            if stopped and now < steps:
                raise Interrupted(now, steps)

    def _until_due(self, now, advance, interrupted):
        """Trains until something is due or the run is interrupted; returns the step, and whether something is due."""
        rhythm, steps, steps_per_epoch = self._rhythm, self._given.steps, self._given.steps_per_epoch
        every = (rhythm.log_every, rhythm.evaluate_every, rhythm.save_every, steps_per_epoch)
        periods = [period or steps_per_epoch for period in every]
        stop = min([steps, *(now // period * period + period for period in periods), *diagnosis.rounds_after(now)])
        window = self._story.window
        while now < stop:
            count = min(rhythm.steps_per_call, stop - now)
            self._callbacks.on_train_batch_begin(now % steps_per_epoch)
            part = advance(now, count)
            window.add(part, count)
            now += count
            means = {name: value / count for name, value in part.items()}
            self._callbacks.on_train_batch_end((now - 1) % steps_per_epoch, means)
            self._story.progress.update(now)
            if interrupted() and now < stop:
                return now, False
        means = {**window.means(), "learning_rate": optimizers.learning_rate(self._learner.optimizer)}
        self._story.scalars(now, means)
        self._latest.update(means)
        return now, True


def make_spec(views: Any, data: Any, batch_size: int, replica_count: int = 1) -> methods.Spec:
    """Returns the `Spec` with which a method begins; arguments as for `run`."""
    shapes = {name: shape for name, (shape, _) in data.spec.items() if name not in ("id", "label")}
    maps = {name: shape for name, shape in shapes.items() if tasks.describes_map(*data.spec[name])}
    view_shapes: tuple = ()
    if views is not None:
        checks.require(bool(maps), "run", "data with images, or `views` of None", data=data)
        view_shapes = views.output_shapes(tasks.for_views(maps))
    rest = {name: shape for name, shape in shapes.items() if not (view_shapes and name in maps)}
    return methods.Spec(view_shapes, data.ids, batch_size, data.class_count, replica_count, rest, data.known_labels)


def restored_spec(record: dict[str, Any]) -> methods.Spec:
    """Returns the `Spec` of a finished run from the contents of its `run.json`."""
    kept = record["spec"]
    shapes = {name: tuple(shape) for name, shape in kept["extra_shapes"].items()}
    views = tuple(tuple(shape) for shape in kept["view_shapes"])
    ids = np.arange(kept["first_id"], kept["first_id"] + record["examples"])
    return methods.Spec(views, ids, record["batch_size"], kept["classes"], 1, shapes)


def _check_method(learner: methods.Method) -> None:
    """Raises ValueError, before training starts, if a method lacks what the loop needs later."""
    networks, who = learner.encoders(), type(learner).__name__
    valid = isinstance(networks, dict) and networks and all(isinstance(n, keras.Model) for n in networks.values())
    checks.require(valid, who, "`encoders` to return Keras models by name", encoders=networks)
    defined = type(learner).contrast is not methods.Method.contrast
    checks.require(defined, who, "`contrast` to be defined", methods=sorted(vars(type(learner))))
    checks.require(bool(learner.trainable_variables), who, "trainable variables after `begin`", variables=0)


@contextlib.contextmanager
def _policy(precision):
    """Sets the policy of `precision` for layers that are made within the block, and restores the policy afterwards."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(PRECISIONS[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _record(learner, data, spec, steps, seed, precision, engine, command):
    """Returns the contents of `run.json`, except for time and progress."""
    from_engine = engine.record()
    versions = {**from_engine["versions"], "keras": keras.__version__, "python": platform.python_version()}
    return {
        "method": learner.title,
        "weights": sum(math.prod(variable.shape) for variable in learner.trainable_variables),
        "data": data.name,
        "split": data.split,
        "examples": data.size,
        "skipped": data.skipped,
        "batch_size": spec.batch_size,
        "steps": steps,
        "epochs": steps / (data.size // spec.batch_size),
        "seed": seed,
        "precision": precision,
        **from_engine,
        "command": command,
        "versions": versions,
        "spec": {
            "view_shapes": spec.view_shapes,
            "extra_shapes": spec.extra_shapes,
            "first_id": int(np.min(spec.ids)),
            "classes": spec.classes,
        },
    }


def _check_kinds(factories, views, data, rhythm, evaluators, callbacks, jit_compile):
    """Raises ValueError for what is of the wrong kind; without it, an error would come later and from elsewhere."""
    for name, factory in factories.items():
        checks.require(callable(factory), "run", f"`{name}` to be a factory, in gin a @reference", **{name: factory})
    checks.require(views is None or hasattr(views, "output_shapes"), "run", "`views` to be a view.Views", views=views)
    checks.require(hasattr(data, "batches"), "run", "`data` to be a source, as of sources.load()", data=data)
    checks.require(isinstance(rhythm, Rhythm), "run", "`rhythm` to be a loop.Rhythm()", rhythm=rhythm)
    for name, several in {"evaluators": evaluators, "callbacks": callbacks}.items():
        valid = isinstance(several, (list, tuple)) and all(
            callable(single) or isinstance(single, keras.callbacks.Callback) for single in several
        )
        checks.require(valid, "run", f"`{name}` to be a sequence of functions or objects", **{name: several})
    checks.require(isinstance(jit_compile, bool), "run", "`jit_compile` to be a bool", jit_compile=jit_compile)


def _check(data, epochs, batch_size, seed, precision, replicas):
    checks.require(seeds.is_seed(seed), "run", "`seed` to be an integer in [0, 2**64)", seed=seed)
    checks.one_of("run", "precision", precision, tuple(PRECISIONS))
    checks.positive("run", epochs=epochs)
    checks.integers("run", 2, batch_size=batch_size)
    expected = f"`batch_size` to be a multiple of the {replicas} replicas"
    checks.require(batch_size % replicas == 0, "run", expected, batch_size=batch_size)
    expected = f"`batch_size` of at most the {data.size} images of {data.name} {data.split}"
    checks.require(batch_size <= data.size, "run", expected, batch_size=batch_size)


def _is_due(now, every, steps):
    return now % every == 0 or now == steps
