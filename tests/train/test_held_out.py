import functools
import math
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from zoo import seeds
from zoo.data import sources
from zoo.methods import evaluation, insdis, method, moco, pcl, simclr
from zoo.models import convnet, heads
from zoo.train import held_out, loop, schedules, strategies
from zoo.views import geometry, view

VIEWS = view.Views((geometry.Crop(8), geometry.Crop(8)))
PROJECTOR = functools.partial(heads.projector, widths=(8, 4))


def encoder(image_shape):
    return convnet.convnet(image_shape, (4,))


def data(split="train[64:128]"):
    return sources.load("digits", split)


def train(workdir, **changes):
    arguments = {
        "method": lambda: simclr.SimCLR(encoder, PROJECTOR),
        "views": VIEWS,
        "data": data("train[:64]"),
        "workdir": workdir,
        "schedule": schedules.WarmupCosine(0.1, "none", 0),
        "epochs": 1,
        "batch_size": 16,
        **changes,
    }
    return loop.run(**arguments)


def run(step=4):
    return evaluation.Run(step, 4, 4, VIEWS, data("train[:64]"), None, 0, batch_size=16)


def test_evaluates_what_training_would_and_changes_nothing(tmp_path):
    trained = train(tmp_path)
    before = [variable.numpy() for variable in trained.variables]
    evaluator = held_out.HeldOut(data("train[64:80]"))
    found = evaluator(trained, run())
    logged = {"val_loss", "val_contrast_accuracy", "val_contrast_loss", "val_num_candidates"}
    assert evaluator(trained, run()) == found and set(found) == logged
    for variable, value in zip(trained.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.path)
    # The same by hand: one batch, in the views of epoch 0.
    examples = evaluator.data.examples(np.arange(16))
    views = VIEWS(examples["image"].astype("float32") / 255, seeds.Seed(0).fold(0).fold(-2 - examples["id"]))
    batch = method.Batch(views, examples["id"], examples["label"])
    loss, _, _ = trained.contrast(batch, method.Step(4, 4, 4))
    assert found["val_loss"] == pytest.approx(float(np.mean(loss)), rel=1e-5)


def test_a_method_that_learns_nothing_is_at_chance(tmp_path):
    trained = train(tmp_path)
    for variable in trained.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    found = held_out.HeldOut(data())(trained, run())
    assert found["val_loss"] == pytest.approx(math.log(2 * 16 - 1), rel=1e-5) and found["val_contrast_accuracy"] == 0


def test_callbacks_see_evaluations_and_can_stop_or_choose_by_them(tmp_path):
    seen = []

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(dict(logs))

    kept = tmp_path / "best.weights.h5"
    arguments = {"save_best_only": True, "save_weights_only": True, "mode": "max"}
    train(
        tmp_path / "run",
        epochs=5,
        evaluators=[held_out.HeldOut(data()), lambda method, run: {"knn_accuracy": 1 / run.step}],
        callbacks=[
            Keep(),
            keras.callbacks.EarlyStopping(monitor="knn_accuracy", mode="max", patience=2),
            keras.callbacks.ModelCheckpoint(str(kept), monitor="knn_accuracy", **arguments),
        ],
    )
    assert [logs["knn_accuracy"] for logs in seen] == [1 / 4, 1 / 8, 1 / 12]  # patience ended the run
    assert all({"loss", "val_loss", "alignment", "learning_rate"} <= set(logs) for logs in seen)
    assert kept.exists()


def compare_replicas(folder):
    """Trains on one device and on two replicas, and compares what they evaluate."""
    strategies.split_cpu(2)
    found = []
    for name in ("default", "mirrored"):
        keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: found.append(logs["val_loss"]))
        strategy = strategies.strategy(name)
        train(folder / name, strategy=strategy, evaluators=[held_out.HeldOut(data())], callbacks=[keep])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.slow
def test_replicas_evaluate_what_one_device_does(tmp_path):
    """In a process of its own, since two strategies with different devices collide in one."""
    program = "import pathlib, sys, test_held_out; test_held_out.compare_replicas(pathlib.Path(sys.argv[1]))"
    here = pathlib.Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", program, tmp_path], cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: held_out.HeldOut(data("train[:1]")), "`data` of two images or more. Received: images=1"),
        (lambda: held_out.HeldOut(data(), limit=1), "`limit` to be an integer >= 2"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("learner", "views"),
    [
        (insdis.InsDis(encoder, PROJECTOR, num_candidates=4), 1),
        (pcl.PCL(encoder, PROJECTOR, queue_size=16, bn_groups=1, clusters=(3,)), 2),
    ],
)
def test_refuses_a_method_with_a_memory_of_every_image(learner, views):
    learner.begin(method.Spec(((8, 8, 1),) * views, np.arange(64), 16))
    with pytest.raises(ValueError, match="without a memory of every image.*method='(InsDis|PCL)', banks="):
        held_out.HeldOut(data())(learner, run())


def test_a_queue_is_read_and_stays(tmp_path):
    trained = train(tmp_path, method=lambda: moco.MoCo(encoder, PROJECTOR, queue_size=32, bn_groups=1))
    keys = trained.queue.keys.numpy()
    assert held_out.HeldOut(data())(trained, run())["val_loss"] > 0
    np.testing.assert_array_equal(trained.queue.keys, keys)
