"""Methods with a memory through the whole loop: what is remembered survives, and what does not fit is refused first."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import presets

from zoo.data import sources
from zoo.train import checkpoint, loop, optimizers, schedules, step, strategies


def run(workdir, name, epochs=2, callbacks=(), strategy=None, views=None, **changes):
    """Batches of 16 from the 64 images that the presets know."""
    return loop.run(
        lambda: presets.make(name, **changes),
        views or presets.views(name),
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


METHODS = [(name, False) for name in presets.PRESETS] + [(name, True) for name in presets.WITH_NCE]


@pytest.mark.parametrize(("name", "by_nce"), METHODS)
def test_a_step_of_every_method_moves_weights_and_memory(name, by_nce):
    method = presets.begun(name, **({"estimator": presets.nce} if by_nce else {}))
    optimizer = optimizers.SGD(0.1)
    optimizer.build(method.trainable_variables)
    optimizer = step.without_reduction(optimizer)
    train = step.Step(method, presets.views(name), optimizer, seed=0, steps=20, steps_per_epoch=4)
    data = sources.load("digits", f"train[:{presets.DATA}]", channels=3)
    before = [keras.ops.convert_to_numpy(v) for v in method.variables]
    logs = train({"image": data.fetch(np.arange(8)), "id": tf.range(8)}, tf.constant(0))
    assert np.isfinite(logs["loss"])
    moved = [v for v, was in zip(method.variables, before, strict=True) if np.any(v.numpy() != was)]
    assert {id(v) for v in moved} >= {id(v) for v in method.trainable_variables}
    kinds = {v.path.split("/")[-1] for v in moved}
    assert kinds >= ({"rows", "draws"} if presets.PRESETS[name].memory == "bank" else {"keys", "ids", "pointer"})
    assert ("estimates" in kinds) == by_nce
    # All queues, banks, key encoders and estimators, not only some.
    parts = presets.parts(method)
    kept = [v for group in (parts.queues, parts.banks, parts.estimators) for part in group for v in part.variables]
    assert {id(v) for v in kept} <= {id(v) for v in moved}
    slow = [v for encoder in parts.key_encoders for v in encoder.average.target]
    assert {id(v) for v in slow} <= {id(v) for v in moved}


class StopInTheMiddle(keras.callbacks.Callback):
    """Ends a run after its first epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


@pytest.mark.slow
@pytest.mark.parametrize("name", ["insdis", "moco", "pirl", "infomin", "cmc", "cmc_v2"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(name, tmp_path):
    run(tmp_path / "whole", name)
    run(tmp_path / "broken", name, callbacks=[StopInTheMiddle])
    halfway = np.load(checkpoint.Checkpoints(tmp_path / "broken" / "checkpoints").files()[-1])
    run(tmp_path / "broken", name)
    found, expected = (
        np.load(checkpoint.Checkpoints(tmp_path / kind / "checkpoints").files()[-1]) for kind in ("broken", "whole")
    )
    assert found.files == expected.files
    for path in found.files:
        np.testing.assert_array_equal(found[path], expected[path], err_msg=path)
    pointers = [path for path in found.files if path.endswith("pointer")]
    assert all(int(halfway[path]) == 4 * 16 % 32 for path in pointers)
    for kind in ("keys", "ids", "rows", "moving_mean"):
        for path in (path for path in found.files if path.endswith(kind)):
            assert np.any(found[path] != halfway[path]), path


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("moco", {"queue_size": 64}, "`size` of at most 48"),
        ("moco", {"bn_groups": 3}, "`bn_groups` to divide"),
        ("insdis", {"num_candidates": 64}, "`num_candidates` from 1 to the 63 other images"),
        ("cmc", {"joined": ("luma",)}, "two or more of the towers"),
        ("cmc_v2", {"queue_size": 24}, "multiple of the global batch of 16"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(name, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", name, **changes)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "views", "message"),
    [
        ("cmc", "pirl", r"images \(H, W, C\)|one view that all towers share"),
        ("pirl", "moco", r"the view 'patches' to be of patches \(P, h, w, C\)"),
        ("infomin", "moco", r"expected 3 views \(query, key, patches\). Received: views=2"),
        ("moco", "pirl", r"the view 'key' to be of images"),
    ],
)
def test_views_of_another_method_are_refused_before_anything_is_written(name, views, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", name, views=presets.views(views))
    assert not (tmp_path / "run").exists()


def test_groups_that_replicas_cannot_share_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="`bn_groups` to be 1 or a multiple of the 4 replicas"):
        run(tmp_path / "run", "moco", strategy=strategies.strategy("mirrored"), bn_groups=2)
    assert not (tmp_path / "run").exists()
