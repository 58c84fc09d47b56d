import dataclasses
import functools
import json

import keras
import numpy as np
import pytest

from zoo.data import sources
from zoo.methods import method as methods
from zoo.methods import simclr
from zoo.models import convnet, heads
from zoo.train import checkpoint, engines, extraction, loop, optimizers, schedules
from zoo.views import geometry, view

CROP = view.Chain((geometry.Crop(8), geometry.Flip()))


SEEN = []


@dataclasses.dataclass(frozen=True)
class Watched(view.View):
    """Nothing; how many images it is traced for is put down."""

    def apply(self, images, drawn):
        SEEN.append(images.shape[0])
        return images


WATCHED = view.Chain((*CROP.steps, Watched()))


class Stop(keras.callbacks.Callback):
    """Ends a run after an epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


def encoder(image_shape):
    return convnet.convnet(image_shape, (4, 8))


def method():
    return simclr.SimCLR(encoder, lambda width: heads.projector(width, (8, 4)))


def run(workdir, **changes):
    arguments = {
        "method": method,
        "views": view.Views((CROP, CROP)),
        "data": sources.load("digits", "train[:64]"),
        "workdir": workdir,
        "schedule": schedules.WarmupCosine(0.1, "none", 0),
        "epochs": 3,
        "batch_size": 16,
        **changes,
    }
    return loop.run(**arguments)


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_records_what_it_did(tmp_path):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, sorted(logs)))

    run(tmp_path, callbacks=[Watch], evaluators=(lambda method, run: {"twice": 2 * run.step},))
    scalars = {"loss", "contrast_loss", "contrast_accuracy", "num_candidates", "learning_rate", "relative_update"}
    scalars |= {"alignment", "uniformity", "effective_rank", "view_accuracy", "twice"}
    scalars |= {"view_low", "view_high", "view_spread", "view_difference"}
    assert seen == [(epoch, sorted(scalars)) for epoch in range(3)]
    lines = records(tmp_path)
    assert [line["step"] for line in lines] == [4, 4, 8, 8, 12, 12]
    assert lines[1]["twice"] == 8 and lines[1]["alignment"] > 0 and lines[1]["effective_rank"] >= 1
    assert lines[-2]["learning_rate"] == pytest.approx(0, abs=1e-6)
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["method"], record["steps"], record["done"], record["seed"]) == ("simclr", 12, 12, 0)
    assert list((tmp_path / "tensorboard").iterdir()) and not list(tmp_path.rglob("*.part"))


def test_starts_from_the_seed_alone(tmp_path):
    first, again, other = (run(tmp_path / str(i), seed=seed) for i, seed in enumerate((0, 0, 1)))
    for a, b in zip(first.variables, again.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(
        np.abs(np.array(a) - np.array(b)).max() > 1e-3 for a, b in zip(first.variables, other.variables, strict=True)
    )


def test_how_many_steps_run_per_call_changes_nothing(tmp_path):
    one = run(tmp_path / "one", rhythm=loop.Rhythm(steps_per_call=1))
    many = run(tmp_path / "many", rhythm=loop.Rhythm(steps_per_call=7, log_every=3))
    for a, b in zip(one.variables, many.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_trains_in_half_precision_with_float32_variables(tmp_path, precision):
    trained = run(tmp_path, precision=precision)
    assert {keras.backend.standardize_dtype(v.dtype) for v in trained.trainable_variables} == {"float32"}
    assert trained.embedder.encoder.compute_dtype == precision
    # float16 begins with a loss scale that overflows, and leaves out steps until it has found the right one. The
    # schedule ends nevertheless.
    assert int(trained.optimizer.iterations) == 12
    assert optimizers.learning_rate(trained.optimizer) == pytest.approx(0, abs=1e-9)
    if precision == "float16":
        assert float(trained.optimizer.dynamic_scale) < trained.optimizer.initial_scale
    assert all(np.isfinite(np.array(v)).all() for v in trained.variables)
    assert keras.mixed_precision.global_policy().name == "float32"


def test_compiled_by_xla_it_computes_the_same(tmp_path):
    plain = run(tmp_path / "plain", epochs=1)
    SEEN.clear()
    compiled = run(tmp_path / "compiled", epochs=1, jit_compile=True, views=view.Views((WATCHED, WATCHED)))
    assert 1 in SEEN and 32 not in SEEN
    for a, b in zip(plain.variables, compiled.variables, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, err_msg=a.path)


def test_a_callback_can_stop_it_and_it_continues_later(tmp_path):
    run(tmp_path, callbacks=[Stop])
    assert checkpoint.Checkpoints(tmp_path / "checkpoints").files()[-1].name == "step-000000004.npz"
    assert int(run(tmp_path).optimizer.iterations) == 12


def test_weight_decay_spares_biases_and_norms(tmp_path):
    def decayed(learning_rate):
        return keras.optimizers.AdamW(learning_rate, weight_decay=0.1)

    trained = run(tmp_path, optimizer=decayed)
    for variable in trained.trainable_variables:
        assert trained.optimizer._use_weight_decay(variable) == (len(variable.shape) > 1), variable.path


def test_a_loss_that_is_not_finite_stops_before_the_checkpoint(tmp_path):
    class Broken(simclr.SimCLR):
        def contrast(self, batch, step):
            loss, *rest = super().contrast(batch, step)
            return loss * float("nan"), *rest

    def broken():
        return Broken(encoder, lambda width: heads.projector(width, (4,)))

    with pytest.raises(FloatingPointError, match="between steps 0 and 4"):
        run(tmp_path, method=broken)
    assert not checkpoint.Checkpoints(tmp_path / "checkpoints").files()


def test_weights_that_the_last_update_ruined_are_not_saved(tmp_path):
    class Ruinous(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return keras.ops.where(step == 11, np.inf, 0.1)  # the last update, after the last loss

    with pytest.raises(FloatingPointError, match="finite variables. Received: .* after step 12"):
        run(tmp_path, schedule=lambda *_: Ruinous(), rhythm=loop.Rhythm(save_every=11))
    assert [path.name for path in checkpoint.Checkpoints(tmp_path / "checkpoints").files()] == ["step-000000011.npz"]


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda loss, logs, seen: (keras.ops.mean(loss), logs, seen), r"the loss of every .*shape=\(\)"),
        (lambda loss, logs, seen: (loss, {"rows": loss}, seen), r"a scalar to log as 'rows'. Received: shape=\(\w+,\)"),
        (lambda loss, logs, seen: (loss, logs), r"a tuple \(loss, logs, seen\). Received: returned="),
    ],
)
def test_what_contrast_must_not_return_is_refused(tmp_path, change, expected):
    class Wrong(simclr.SimCLR):
        def contrast(self, batch, step):
            return change(*super().contrast(batch, step))

    with pytest.raises(ValueError, match=rf"Wrong: expected `contrast` to return {expected}"):
        run(tmp_path, method=lambda: Wrong(encoder, lambda width: heads.projector(width, (4,))))


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    run(tmp_path, config="a = 1\nb = 2\n", epochs=1)
    with pytest.raises(ValueError, match=r"(?s)-b = 2.*\+b = 3"):
        run(tmp_path, config="a = 1\nb = 3\n", epochs=1)


def test_what_refuses_to_be_ready_leaves_no_trace(tmp_path):
    def refuse(record):
        raise ValueError("not like this")

    with pytest.raises(ValueError, match="not like this"):
        run(tmp_path / "run", ready=refuse)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"batch_size": 65}, "at most the 64 images"),
        ({"method": None}, "`method` to be a factory, in gin a @reference. Received: method=None"),
        ({"optimizer": 0.1}, "`optimizer` to be a factory"),
        ({"schedule": 0.1}, "`schedule` to be a factory"),
        ({"data": "digits"}, "`data` to be a source"),
        ({"views": 2}, "`views` to be a view.Views"),
        ({"rhythm": loop.Rhythm}, "`rhythm` to be a loop.Rhythm"),
        ({"evaluators": [3]}, "`evaluators` to be a sequence"),
        ({"callbacks": Stop}, "`callbacks` to be a sequence"),
        ({"jit_compile": "yes"}, "`jit_compile` to be a bool"),
        ({"epochs": "3"}, "`epochs` > 0. Received: epochs='3'"),
        ({"epochs": float("inf")}, "`epochs` > 0"),
        ({"batch_size": 64.0}, "`batch_size` to be an integer"),
        ({"seed": -1}, r"`seed` to be an integer in \[0, 2\*\*64\). Received: seed=-1"),
        ({"seed": 2**64}, "`seed` to be an integer"),
        ({"seed": True}, "`seed` to be an integer"),
        ({"seed": "a"}, "`seed` to be an integer in .*Received: seed='a'"),
        ({"batch_size": 1}, "`batch_size` to be an integer >= 2"),
        ({"epochs": 0}, "`epochs` > 0"),
        ({"precision": "float8"}, "precision"),
        ({"views": view.Views((CROP,))}, "expected 2 views"),
        ({"schedule": schedules.WarmupCosine(0.1, "none", 5)}, "warmup_epochs"),
    ],
)
def test_bad_arguments(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **changes)


def test_views_that_do_not_fit_are_refused_before_anything_is_written(tmp_path):
    small = view.Chain((geometry.Crop(6),))
    with pytest.raises(ValueError, match=r"SimCLR: expected two views of one shape.*\(6, 6, 1\)"):
        run(tmp_path / "run", views=view.Views((CROP, small)))
    assert not (tmp_path / "run").exists()  # the configuration can be corrected without another workdir


class Incomplete(methods.Method):
    """A method of one embedding, of which a subclass leaves something out."""

    def begin(self, spec):
        self.encoder = convnet.convnet((None, None, spec.view_shapes[0][-1]), (4,))

    def contrast(self, batch, step):
        return keras.ops.mean(self.encoder(batch.views[0], training=True), axis=1), {}, ()


class WithoutContrast(Incomplete):
    contrast = methods.Method.contrast


class WithoutBegin(Incomplete):
    begin = methods.Method.begin


class WithoutEncoders(Incomplete):
    def encoders(self):
        return {}


class WithFunctions(Incomplete):
    def encoders(self):
        return {"image": lambda images: images}


class WithoutWeights(Incomplete):
    def begin(self, spec):
        super().begin(spec)
        self.encoder.trainable = False


@pytest.mark.parametrize(
    ("incomplete", "error", "message"),
    [
        (WithoutContrast, ValueError, "WithoutContrast: expected `contrast` to be defined"),
        (WithoutBegin, NotImplementedError, "WithoutBegin: expected `begin` to be defined"),
        (WithoutEncoders, ValueError, r"`encoders` to return Keras models by name. Received: encoders=\{\}"),
        (WithFunctions, ValueError, "`encoders` to return Keras models by name"),
        (WithoutWeights, ValueError, "trainable variables after `begin`"),
    ],
)
def test_a_method_that_lacks_something_is_refused_before_anything_is_written(tmp_path, incomplete, error, message):
    with pytest.raises(error, match=message):
        run(tmp_path / "run", method=incomplete)
    assert not (tmp_path / "run").exists()
    run(tmp_path / "complete", method=Incomplete, epochs=1)


class Unnamed(Incomplete):
    """Owns layers without names, which Keras numbers by what was made before in the process."""

    def begin(self, spec):
        super().begin(spec)
        self.head = keras.Sequential([keras.layers.Dense(5), keras.layers.Dense(3)])
        self.head.build((None, 4))
        self.norm = keras.layers.LayerNormalization()
        self.norm.build((None, 3))

    def contrast(self, batch, step):
        features = self.encoder(batch.views[0], training=True)
        return keras.ops.mean(keras.ops.sin(self.norm(self.head(features))), axis=1), {}, ()


def test_a_run_that_is_stopped_within_an_epoch_ends_the_epoch(tmp_path):
    calls = []

    class Early(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            calls.append(("begin", epoch))

        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

        def on_epoch_end(self, epoch, logs=None):
            calls.append(("end", epoch, logs["loss"] > 0))

    run(tmp_path, callbacks=[Early], rhythm=loop.Rhythm(log_every=2, steps_per_call=2))
    assert calls == [("begin", 0), ("end", 0, True)]
    assert checkpoint.Checkpoints(tmp_path / "checkpoints").files()[-1].name == "step-000000002.npz"


def test_a_second_run_in_a_process_resumes_the_first(tmp_path):
    """Although layers without names have other numbers the second time."""
    whole = run(tmp_path / "whole", method=Unnamed)
    stopped = run(tmp_path / "broken", method=Unnamed, callbacks=[Stop])
    resumed = run(tmp_path / "broken", method=Unnamed)
    assert int(stopped.optimizer.iterations) == 4 and int(resumed.optimizer.iterations) == 12
    paths = [[variable.path for variable in learner.variables] for learner in (whole, resumed)]
    assert paths[0] != paths[1] and len(paths[0]) == len(paths[1])
    for ours, expected in zip(resumed.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(ours, expected, err_msg=ours.path)


def two_optimizers(learning_rate):
    head = r"(hidden|embedding).*", functools.partial(optimizers.SGD, momentum=0.5)
    return optimizers.by_path(optimizers.LARS, head)(learning_rate)


def test_a_run_with_two_optimizers_records_the_default_rate_and_resumes(tmp_path):
    whole = run(tmp_path / "whole", optimizer=two_optimizers)
    run(tmp_path / "broken", optimizer=two_optimizers, callbacks=[Stop])
    resumed = run(tmp_path / "broken", optimizer=two_optimizers)
    for ours, expected in zip(resumed.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(ours, expected, err_msg=ours.path)
    rates = [line["learning_rate"] for line in records(tmp_path / "broken") if "learning_rate" in line]
    assert rates == pytest.approx([0.075, 0.025, 0.0], abs=1e-6)


EPOCHS = []


class Clustering(methods.Method):
    """Keeps the mean of the features of all images, extracted at the start of an epoch."""

    def begin(self, spec):
        self.encoder = convnet.convnet((None, None, spec.view_shapes[0][-1]), (4,))
        self.features = self.add_weight(shape=(len(spec.ids), 4), trainable=False, name="features")
        self.ids = spec.ids

    def new_epoch(self, epoch, extract):
        features = extract(self.encoder)
        EPOCHS.append((epoch, features))
        self.features.assign(features)

    def contrast(self, batch, step):
        rows = keras.ops.take(self.features, batch.id - int(self.ids[0]), axis=0)
        return keras.ops.mean(keras.ops.abs(self.encoder(batch.views[0], training=True) - rows), axis=1), {}, ()


def test_new_epoch_is_called_at_the_start_of_every_epoch(tmp_path):
    EPOCHS.clear()
    data = sources.load("digits", "train[100:164]")
    method = run(tmp_path, method=Clustering, data=data)
    assert [epoch for epoch, _ in EPOCHS] == [0, 1, 2]
    assert all(features.dtype == np.float32 and features.shape == (64, 4) for _, features in EPOCHS)
    np.testing.assert_array_equal(method.features, EPOCHS[-1][1])
    assert np.abs(EPOCHS[0][1] - EPOCHS[1][1]).max() > 1e-3  # the weights as they stand
    # The rows are in the order of `spec.ids`, not in that of training.
    EPOCHS.clear()
    pixels = keras.ops.convert_to_tensor(data.fetch(np.arange(64)).astype("float32") / 255)
    method.new_epoch(3, extraction.extraction(data, engines.engine()))
    np.testing.assert_allclose(EPOCHS[0][1], method.encoder(pixels), atol=1e-5)
    np.testing.assert_array_equal(method.ids, data.ids)


def test_new_epoch_is_not_called_where_a_run_resumes_within_an_epoch(tmp_path):
    whole = run(tmp_path / "whole", method=Clustering)
    EPOCHS.clear()
    run(tmp_path / "broken", method=Clustering, rhythm=loop.Rhythm(save_every=6))
    assert [epoch for epoch, _ in EPOCHS] == [0, 1, 2]
    folder = checkpoint.Checkpoints(tmp_path / "broken" / "checkpoints")
    folder.files()[-1].unlink()
    assert folder.files()[-1].name == "step-000000006.npz"  # of four an epoch
    EPOCHS.clear()
    resumed = run(tmp_path / "broken", method=Clustering, rhythm=loop.Rhythm(save_every=6))
    assert [epoch for epoch, _ in EPOCHS] == [2]
    for ours, expected in zip(resumed.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(ours, expected, err_msg=ours.path)
    assert not run(tmp_path / "broken", method=Clustering).stop_training and len(EPOCHS) == 1  # nothing left to train


@pytest.mark.parametrize("arguments", [{"log_every": 0}, {"keep": -1}, {"steps_per_call": 1.5}])
def test_rhythm_refuses_what_is_no_period(arguments):
    with pytest.raises(ValueError, match="positive integer"):
        loop.Rhythm(**arguments)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="JAX compiles every view")
def test_long_runs_compile_their_views(tmp_path, monkeypatch):
    """And see the same ones, but for what XLA rounds otherwise."""
    from zoo.train import on_tensorflow

    losses = []
    for worth in (1, 10**8):
        monkeypatch.setattr(on_tensorflow, "_WORTH_COMPILING", worth)
        SEEN.clear()
        run(tmp_path / str(worth), epochs=1, rhythm=loop.Rhythm(log_every=1), views=view.Views((WATCHED, WATCHED)))
        # Compiled for a CPU they are made one by one.
        assert (1 in SEEN) == (worth == 1) and (32 in SEEN) == (worth > 1), SEEN
        losses.append([line["loss"] for line in records(tmp_path / str(worth)) if "loss" in line])
    assert len(losses[0]) == 4
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)
