"""The one training loop: any method, any views, any data, on either engine, on one device or many."""

import contextlib
import dataclasses
import difflib
import math
import pathlib
import platform

import keras
from absl import logging

from zoo import files
from zoo.train import checkpoint, engines, history, monitors, optimizers, schedules

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@dataclasses.dataclass(frozen=True)
class Rhythm:
    """How often what happens, in steps; None means once an epoch.

    Args:
        log_every: scalars are recorded (their mean since the last record).
        evaluate_every: evaluators run and views are shown.
        save_every: a checkpoint is written.
        keep: checkpoints that are kept.
        steps_per_call: most steps that run without returning to Python; higher is faster for small networks.
    """

    log_every: int | None = None
    evaluate_every: int | None = None
    save_every: int | None = None
    keep: int = 3
    steps_per_call: int = 10

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"Rhythm: expected `{name}` to be a positive integer. Received: {name}={value!r}.")


def run(
    method,
    views,
    data,
    workdir,
    optimizer=optimizers.LARS,
    schedule=None,
    epochs=100,
    batch_size=256,
    seed=0,
    precision="float32",
    jit_compile=False,
    rhythm=None,
    evaluators=(),
    callbacks=(),
    strategy=None,
    config="",
    command="",
    ready=None,
):
    """Trains a method; resumes whatever `workdir` holds.

    Args:
        method: factory of a `zoo.methods.method.Method`, called inside the strategy's scope.
        views: `(images, seed) -> tuple of V image batches`, a `zoo.views.view.Views`.
        data: a `zoo.data.sources.Source` of uint8 images.
        workdir: folder of the run: configuration, checkpoints, metrics, TensorBoard events.
        optimizer: factory of a Keras optimizer, called with `learning_rate`.
        schedule: `(batch_size, steps, steps_per_epoch) -> learning rate`; `schedules.WarmupCosine()` by default.
        epochs: length of the run; an epoch drops what does not fill a last batch.
        batch_size: images of the global batch, N; a multiple of the number of replicas.
        seed: of initial weights, order and views, an integer.
        precision: "float32", "bfloat16" or "float16" (with dynamic loss scaling); variables stay float32.
        jit_compile: compile the step with XLA; faster on accelerators, slower for convolutions on a CPU. JAX always
            does.
        rhythm: a `Rhythm`.
        evaluators: functions `(method, step) -> {name: float}`, beside the loop's own `monitors.Geometry`.
        callbacks: Keras callbacks, or factories of such. Every worker runs them; a batch is a call of several steps.
        strategy: a `tf.distribute.Strategy`, or a list of JAX' devices; see `strategies.strategy`. By default the
            current strategy, or the first device.
        config: text that identifies the configuration: a workdir of another configuration is refused.
        command: how the run was started, for the record.
        ready: called without arguments when everything is made, before anything is written or trained; it may refuse.

    Returns:
        The trained method.

    Raises:
        ValueError: bad arguments, or a workdir of another configuration or model.
        FloatingPointError: the loss is not finite. The last checkpoint is from before.
    """
    engine = engines.engine(strategy)
    rhythm, schedule = rhythm or Rhythm(), schedule or schedules.WarmupCosine()
    _check(data, epochs, batch_size, precision, engine.count)
    engine.check(jit_compile)
    steps_per_epoch = data.size // batch_size
    steps = math.ceil(epochs * steps_per_epoch)
    workdir = pathlib.Path(workdir).expanduser()
    _same_configuration(workdir, config)

    with _policy(precision):
        engine.set_seed(seed % 2**32)
        with engine.scope():
            learner = method()
            rate = schedule(batch_size, steps, steps_per_epoch)
            teacher = _optimizer(optimizer, rate, precision, learner.trainable_variables)
            learner.optimizer = teacher  # where Keras callbacks look for it
            learner.built, learner.stop_training = True, False
            learner.begin()
        on_replica = engine.task(learner, views, teacher, seed, steps_per_epoch)
        shapes = engine.shapes(on_replica.make_views, history.first(data, 1), 0)
        learner.check(shapes, data.ids, batch_size, engine.count)
        _check_modalities(views, data)
        watched = (monitors.Geometry(on_replica, data), *evaluators)
        ours = [c if isinstance(c, keras.callbacks.Callback) else c() for c in callbacks]
        told = keras.callbacks.CallbackList(ours, model=learner)
        if ready:
            ready()
        if engine.chief:
            workdir.mkdir(parents=True, exist_ok=True)
            files.write(workdir / "config.gin", config)

        # Where the weights come from, first match wins:
        #   1. the workdir's newest complete checkpoint, of the same configuration;
        #   2. what `method` starts from, random or published weights.
        saved = checkpoint.Checkpoints(workdir / "checkpoints", rhythm.keep)
        variables = [*learner.variables, *teacher.variables]
        with engine.scope():
            now = saved.restore(variables) or 0
        engine.check_agreement(now, variables)
        if now:
            logging.info("Continuing %s at step %d of %d.", workdir, now, steps)

        record = _record(learner, data, batch_size, steps, seed, precision, engine, command)
        with history.History(workdir, now, record, learner, show=engine.chief) as told_by:
            told.on_train_begin()
            if now < steps:
                advance = engine.trainer(on_replica, data, batch_size, seed, now, steps, jit_compile)
                told_by.show_views(now, on_replica, data)
            while now < steps and not learner.stop_training:
                now = _window(now, steps, steps_per_epoch, rhythm, advance, told_by, told)
                if _due(now, rhythm.evaluate_every or steps_per_epoch, steps):
                    told_by.evaluate(now, watched, on_replica, data)
                if _due(now, rhythm.save_every or steps_per_epoch, steps) or learner.stop_training:
                    told_by.save(now, saved, variables)
            told.on_train_end()
    return learner


@contextlib.contextmanager
def _policy(precision):
    """Layers made inside compute in `precision`; afterwards the policy is what it was."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(PRECISIONS[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _record(learner, data, batch_size, steps, seed, precision, engine, command):
    """What `run.json` keeps of a run."""
    told = engine.record()
    versions = {**told["versions"], "keras": keras.__version__, "python": platform.python_version()}
    return {
        "method": learner.title,
        "data": data.name,
        "split": data.split,
        "examples": data.size,
        "batch_size": batch_size,
        "steps": steps,
        "epochs": steps / (data.size // batch_size),
        "seed": seed,
        "precision": precision,
        **told,
        "command": command,
        "versions": versions,
    }


def _check(data, epochs, batch_size, precision, replicas):
    if precision not in PRECISIONS:
        raise ValueError(f"run: expected `precision` in {list(PRECISIONS)}. Received: precision={precision!r}.")
    if not epochs > 0:
        raise ValueError(f"run: expected `epochs` > 0. Received: epochs={epochs}.")
    if batch_size < 2 or batch_size % replicas:
        raise ValueError(
            f"run: expected `batch_size` to be at least 2 and a multiple of the {replicas} replicas; bind "
            f"`loop.run.batch_size`. Received: batch_size={batch_size}."
        )
    if batch_size > data.size:
        raise ValueError(
            f"run: expected `batch_size` of at most the {data.size} images of {data.name} {data.split}; bind "
            f"`loop.run.batch_size`. Received: batch_size={batch_size}."
        )


def _check_modalities(views, data):
    """Refuses views that would find other modalities in the channels than the data put there."""
    given = tuple((getattr(data, "modalities", None) or {}).items())
    for layout in _layouts(views):
        if layout != given:
            raise ValueError(
                f"run: expected `modality.Modality.layout = {given}`, as `sources.load.modalities` has them. Received: "
                f"layout={layout}."
            )


def _layouts(value):
    """The layouts of all views within a value."""
    if isinstance(value, tuple):
        parts = value
    elif dataclasses.is_dataclass(value):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value) if field.name != "layout"]
        yield from [value.layout] if hasattr(value, "layout") else []
    else:
        return
    for part in parts:
        yield from _layouts(part)


def _same_configuration(workdir, config):
    """Refuses a workdir that was begun with another configuration, and shows the difference."""
    path = workdir / "config.gin"
    before = path.read_text() if path.exists() else config
    if before != config:
        names = ("the run in the workdir", "this command")
        changes = "\n".join(difflib.unified_diff(before.splitlines(), config.splitlines(), *names, n=0, lineterm=""))
        raise ValueError(
            f"run: expected the configuration that {workdir} was begun with; use another workdir, or undo:\n{changes}"
        )


def _optimizer(factory, rate, precision, variables):
    made = factory(learning_rate=rate)
    if made.weight_decay:
        # Keras' own decay would shrink biases and norm scales too; by variable, since its names miss most of them.
        made.exclude_from_weight_decay(var_list=[v for v in variables if optimizers.spared(v)])
    if precision == "float16":
        made = keras.optimizers.LossScaleOptimizer(made)
    made.build(variables)
    return made


def _due(now, every, steps):
    return now % every == 0 or now == steps


def _window(now, steps, steps_per_epoch, rhythm, advance, told_by, told):
    """Trains until something is due, and records the means of that stretch; returns the step reached."""
    rhythms = (rhythm.log_every, rhythm.evaluate_every, rhythm.save_every)
    every = [period or steps_per_epoch for period in rhythms] + [steps_per_epoch]
    stop = min([steps, *((now // period + 1) * period for period in every)])
    epoch = now // steps_per_epoch
    if now % steps_per_epoch == 0:
        told.on_epoch_begin(epoch)
    first, sums = now, {}
    while now < stop:
        count = min(rhythm.steps_per_call, stop - now)
        told.on_train_batch_begin(now % steps_per_epoch)
        part = advance(now, count)
        sums = {name: sums.get(name, 0.0) + value for name, value in part.items()}
        now += count
        told.on_train_batch_end((now - 1) % steps_per_epoch, {name: value / count for name, value in part.items()})
        told_by.progress.update(now)
    means = {name: value / (now - first) for name, value in sums.items()}
    means["learning_rate"] = float(told.model.optimizer.learning_rate)
    told_by.scalars(now, means)
    if now % steps_per_epoch == 0 or now == steps:
        told.on_epoch_end(epoch, means)
    return now
