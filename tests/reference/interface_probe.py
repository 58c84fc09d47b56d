"""Trains the seven small methods: whole, and resumed from a checkpoint in the middle, on replicas some of them.

python interface_probe.py FOLDER REPLICAS [NAME ...]

Writes the losses of every step to FOLDER/losses.json; fails where a resumed run differs from the whole one in a bit.
"""

import json
import pathlib
import shutil
import sys

import keras
import numpy as np
from reference import quick, small_methods

from zoo.data import sources
from zoo.train import loop, optimizers, schedules, strategies
from zoo.views import geometry, view

LARGE, SMALL = (view.Chain((geometry.Crop(size, area=(0.3, 1.0)), geometry.Flip())) for size in (8, 6))
TWO = view.Views((LARGE, LARGE))
BATCH, IMAGES, STEPS, RESUMED = 16, 64, 10, 5
# What a method keeps comes back in the same way on replicas: these keep integers, and slots of two optimizers.
RESUMED_ON_REPLICAS = ("Clusters", "Adversary")
SGD = optimizers.SGD
# Views and optimizer of every method.
RUNS = {
    "MultiCrop": (view.Views((LARGE, LARGE, SMALL, SMALL, SMALL, SMALL)), SGD),
    "SlowTarget": (TWO, SGD),
    "Labels": (TWO, SGD),
    "Clusters": (TWO, SGD),
    "Adversary": (TWO, optimizers.by_path(SGD, ("(.*/)?(in|out)/.*", keras.optimizers.Adam))),
    "FineTuning": (view.Views((LARGE,)), SGD),
    "Bound": (None, keras.optimizers.Adam),
}


class Watch(keras.callbacks.Callback):
    """Keeps the losses."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])


def vectors():
    random = np.random.default_rng(0)
    x = random.normal(size=(IMAGES, 3)).astype("float32")
    return sources.from_arrays({"x": x, "y": x + random.normal(size=x.shape).astype("float32")})


def train(name, workdir, strategy):
    """Returns the losses."""
    views, optimizer = RUNS[name]
    watch = Watch()
    data = vectors() if views is None else sources.load("digits", f"train[:{IMAGES}]")
    loop.run(
        getattr(small_methods, name),
        views,
        data,
        workdir,
        optimizer=optimizer,
        schedule=schedules.WarmupCosine(0.02, "none", 0),
        epochs=STEPS * BATCH / IMAGES,
        batch_size=BATCH,
        rhythm=loop.Rhythm(save_every=RESUMED, evaluate_every=100, steps_per_call=1),
        callbacks=[watch],
        strategy=strategy,
    )
    return watch.losses


def resume(name, folder, strategy, losses):
    """Trains the second half again, from what a kill in the middle leaves; test_resume kills processes."""
    shutil.copytree(folder / "whole", folder / "broken")
    sorted((folder / "broken").rglob("step-*.npz"))[-1].unlink()
    assert train(name, folder / "broken", strategy) == losses[RESUMED:]
    whole, broken = (np.load(sorted((folder / kind).rglob("step-*.npz"))[-1]) for kind in ("whole", "broken"))
    for a, b in zip(whole.files, broken.files, strict=True):
        np.testing.assert_array_equal(whole[a], broken[b], err_msg=f"{name}: {a}")


def main(folder, replicas, *names):
    folder, replicas = pathlib.Path(folder), int(replicas)
    quick.graphs()
    if replicas > 1:
        strategies.split_cpu(replicas)
    strategy = strategies.strategy("mirrored" if replicas > 1 else "default")
    losses = {}
    for name in names or RUNS:
        losses[name] = train(name, folder / name / "whole", strategy)
        if replicas == 1 or name in RESUMED_ON_REPLICAS:
            resume(name, folder / name, strategy, losses[name])
        print(name, losses[name], flush=True)
    (folder / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main(*sys.argv[1:])
