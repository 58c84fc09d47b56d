"""Methods with a memory through the whole loop: what is remembered survives, and what does not fit is refused first."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import presets

from zoo.data import sources
from zoo.methods import comparisons
from zoo.train import checkpoint, loop, optimizers, schedules, step, strategies
from zoo.views import modality, view


def run(workdir, name, epochs=2, callbacks=(), strategy=None, **changes):
    """Batches of 16 from the 64 images that the presets know."""
    return loop.run(
        lambda: presets.make(name, **changes),
        presets.views(name),
        sources.load("digits", f"train[:{presets.DATA}]", channels=3),
        workdir,
        optimizer=optimizers.SGD,
        schedule=schedules.WarmupCosine(base=0.5, warmup_epochs=0),
        epochs=epochs,
        batch_size=16,
        rhythm=loop.Rhythm(steps_per_call=2),
        callbacks=callbacks,
        strategy=strategy,
    )


@pytest.mark.parametrize("comparison", [comparisons.Softmax, comparisons.NCE])
@pytest.mark.parametrize("name", presets.PRESETS)
def test_one_step_of_every_combination_moves_weights_and_memory(name, comparison):
    method, teacher = presets.make(name, comparison), optimizers.SGD(0.1)
    teacher.build(method.trainable_variables)
    method.begin()
    one = step.Step(method, presets.views(name), step.alone(teacher), seed=0, steps_per_epoch=4)
    data = sources.load("digits", f"train[:{presets.DATA}]", channels=3)
    before = [keras.ops.convert_to_numpy(v) for v in method.variables]
    logs = one({"image": data.fetch(np.arange(8)), "id": tf.range(8)}, tf.constant(0))
    assert np.isfinite(logs["loss"])
    moved = {v.path for v, was in zip(method.variables, before, strict=True) if np.any(v.numpy() != was)}
    assert moved >= {v.path for v in method.trainable_variables}
    kinds = {path.split("/")[-1] for path in moved}
    assert kinds >= ({"rows", "draws"} if presets.PRESETS[name][2] == "bank" else {"keys", "ids", "pointer"})
    assert ("estimates" in kinds) == (comparison is comparisons.NCE)


class StopInTheMiddle(keras.callbacks.Callback):
    """Ends a run after its first epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


@pytest.mark.slow
@pytest.mark.parametrize("name", ["insdis", "moco", "pirl", "cmc_v2", "cmc_jigsaw_queue"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(name, tmp_path):
    run(tmp_path / "whole", name)
    run(tmp_path / "broken", name, callbacks=[StopInTheMiddle])
    halfway = np.load(checkpoint.Checkpoints(tmp_path / "broken" / "checkpoints").files()[-1])
    run(tmp_path / "broken", name)
    ours, theirs = (
        np.load(checkpoint.Checkpoints(tmp_path / kind / "checkpoints").files()[-1]) for kind in ("broken", "whole")
    )
    assert ours.files == theirs.files
    for path in ours.files:
        np.testing.assert_array_equal(ours[path], theirs[path], err_msg=path)
    pointers = [path for path in ours.files if path.endswith("pointer")]
    assert all(int(halfway[path]) == 4 * 16 % 32 for path in pointers)
    for kind in ("keys", "ids", "rows", "moving_mean"):
        for path in (path for path in ours.files if path.endswith(kind)):
            assert np.any(ours[path] != halfway[path]), path


def jigsaw(patches):
    return lambda features, width: presets.heads.jigsaw(features, width, patches=patches)


def instances(**arguments):
    return lambda *towers: presets.dictionaries.Instances(*towers, **arguments)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("moco", {"dictionary": lambda *towers: presets.queue(*towers, size=64)}, "`size` of at most 48"),
        ("moco", {"dictionary": lambda *towers: presets.queue(*towers, splits=3)}, "`splits` to divide"),
        ("insdis", {"dictionary": instances(size=60)}, "`negatives`"),
        ("insdis", {"dictionary": instances(size=60, negatives=9)}, "`dictionaries.Instances.size = 64`"),
        ("cmc", {"jigsaw": jigsaw(4)}, "expected 2 view.s., one each that all towers share: queries, patches"),
        ("pirl", {"jigsaw": jigsaw(9)}, "expected 9 patches.*`heads.jigsaw.patches`"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(name, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", name, **changes)
    assert not (tmp_path / "run").exists()


def test_groups_that_replicas_cannot_share_are_refused_before_anything_is_written(tmp_path):
    dictionary = lambda *towers: presets.queue(*towers, splits=2)  # noqa: E731
    with pytest.raises(ValueError, match="`splits` to be 1 or a multiple of the 4 replicas"):
        run(tmp_path / "run", "moco", strategy=strategies.strategy("mirrored"), dictionary=dictionary)
    assert not (tmp_path / "run").exists()


def test_views_of_other_modalities_than_the_datas_are_refused():
    picked = view.Chain((modality.Modality("image", (("depth", 1), ("image", 3))),))
    data = sources.load("digits", "train[:64]", channels=3)
    data.modalities = {"image": 3, "depth": 1}
    with pytest.raises(ValueError, match=r"layout = \(\('image', 3\), \('depth', 1\)\)"):
        loop._check_modalities(view.Views((picked,)), data)
