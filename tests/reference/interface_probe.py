"""Trains the seven small methods: whole, and interrupted and resumed.

python interface_probe.py FOLDER REPLICAS [NAME ...]

Writes the losses of every step to FOLDER/losses.json; fails where a resumed run differs from the whole one in a bit.
"""

import json
import pathlib
import sys

import keras
import numpy as np
from reference import small_methods

from zoo.data import sources
from zoo.train import loop, optimizers, schedules, strategies
from zoo.views import geometry, view

LARGE, SMALL = (view.Chain((geometry.Crop(size, area=(0.3, 1.0)), geometry.Flip())) for size in (8, 6))
TWO = view.Views((LARGE, LARGE))
BATCH, IMAGES, STEPS = 16, 64, 12
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


class Interruption(BaseException):
    """Ends a run without a farewell."""


class Watch(keras.callbacks.Callback):
    """Keeps the losses, and ends the run after some steps."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.losses, self.stop_after = [], stop_after

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])
        if len(self.losses) == self.stop_after:
            raise Interruption


def vectors():
    random = np.random.default_rng(0)
    x = random.normal(size=(IMAGES, 3)).astype("float32")
    return sources.from_arrays({"x": x, "y": x + random.normal(size=x.shape).astype("float32")})


def train(name, workdir, strategy, stop_after=None):
    """Returns the losses, or None of an interrupted run."""
    views, optimizer = RUNS[name]
    watch = Watch(stop_after)
    data = vectors() if views is None else sources.load("digits", f"train[:{IMAGES}]")
    try:
        loop.run(
            getattr(small_methods, name),
            views,
            data,
            workdir,
            optimizer=optimizer,
            schedule=schedules.WarmupCosine(0.05, "none", 0),
            epochs=STEPS * BATCH / IMAGES,
            batch_size=BATCH,
            rhythm=loop.Rhythm(save_every=5, evaluate_every=100, steps_per_call=1),
            callbacks=[watch],
            strategy=strategy,
        )
    except Interruption:
        return None
    return watch.losses


def main(folder, replicas, *names):
    folder, replicas = pathlib.Path(folder), int(replicas)
    if replicas > 1:
        strategies.split_cpu(replicas)
    strategy = strategies.strategy("mirrored" if replicas > 1 else "default")
    losses = {}
    for name in names or RUNS:
        losses[name] = train(name, folder / name / "whole", strategy)
        train(name, folder / name / "broken", strategy, stop_after=7)  # the last checkpoint is of step 5
        assert len(train(name, folder / name / "broken", strategy)) == STEPS - 5
        whole, broken = (
            np.load(sorted((folder / name / kind).rglob("step-*.npz"))[-1]) for kind in ("whole", "broken")
        )
        for a, b in zip(whole.files, broken.files, strict=True):
            np.testing.assert_array_equal(whole[a], broken[b], err_msg=f"{name}: {a}")
        print(name, losses[name], flush=True)
    (folder / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main(*sys.argv[1:])
