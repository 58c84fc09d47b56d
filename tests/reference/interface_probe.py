"""Trains a family of methods: whole, and resumed from a checkpoint in the middle, on replicas some of them.

python interface_probe.py FOLDER REPLICAS FAMILY [NAME ...]

FAMILY is `small` or `real`.

Writes the losses of every step to FOLDER/losses.json; fails where a resumed run differs from the whole one in a bit.
"""

import json
import pathlib
import shutil
import sys

import keras
import numpy as np
from reference import family as real_methods
from reference import quick, small_methods

from zoo.data import sources
from zoo.train import loop, optimizers, schedules, strategies
from zoo.views import geometry, view

LARGE, SMALL = (view.Chain((geometry.Crop(size, area=(0.3, 1.0)), geometry.Flip())) for size in (8, 6))
TWO = view.Views((LARGE, LARGE))
CROPS = view.Views((LARGE, LARGE, SMALL, SMALL))
BATCH, IMAGES = 16, 64
# What a method keeps comes back in the same way on replicas: these keep integers, queues, or slots of two optimizers.
RESUMED_ON_REPLICAS = ("Clusters", "Adversary", "pcl", "swav_queue")
SGD = optimizers.SGD
STEPS = {"small": 10, "real": 20}
# Gently, where there are more steps: at a high rate they blow up the last bits, in which engines and replicas differ.
# Cross-entropy, which does not, would hardly move.
RATES = {"small": 0.02, "real": 0.002, "supervised": 0.1}
# Method, views and optimizer of every run.
RUNS = {
    "small": {
        "MultiCrop": (small_methods.MultiCrop, view.Views((LARGE, LARGE, SMALL, SMALL, SMALL, SMALL)), SGD),
        "SlowTarget": (small_methods.SlowTarget, TWO, SGD),
        "Labels": (small_methods.Labels, TWO, SGD),
        "Clusters": (small_methods.Clusters, TWO, SGD),
        "Adversary": (
            small_methods.Adversary,
            TWO,
            optimizers.by_path(SGD, ("(.*/)?(in|out)/.*", keras.optimizers.Adam)),
        ),
        "FineTuning": (small_methods.FineTuning, view.Views((LARGE,)), SGD),
        "Bound": (small_methods.Bound, None, keras.optimizers.Adam),
    },
    "real": {
        name: (method, CROPS if name in ("swav", "byol") else TWO, SGD) for name, method in real_methods.METHODS.items()
    },
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


def train(run, steps, rate, workdir, strategy):
    """Returns the losses."""
    method, views, optimizer = run
    watch = Watch()
    data = vectors() if views is None else sources.load("digits", f"train[:{IMAGES}]")
    loop.run(
        method,
        views,
        data,
        workdir,
        optimizer=optimizer,
        schedule=schedules.WarmupCosine(rate, "none", 0),
        epochs=steps * BATCH / IMAGES,
        batch_size=BATCH,
        rhythm=loop.Rhythm(save_every=steps // 2, evaluate_every=100, steps_per_call=1),
        callbacks=[watch],
        strategy=strategy,
    )
    return watch.losses


def resume(run, steps, rate, folder, strategy, losses):
    """Trains the second half again, from what a kill in the middle leaves; test_resume kills processes."""
    shutil.copytree(folder / "whole", folder / "broken")
    sorted((folder / "broken").rglob("step-*.npz"))[-1].unlink()
    assert train(run, steps, rate, folder / "broken", strategy) == losses[steps // 2 :]
    whole, broken = (np.load(sorted((folder / kind).rglob("step-*.npz"))[-1]) for kind in ("whole", "broken"))
    for a, b in zip(whole.files, broken.files, strict=True):
        np.testing.assert_array_equal(whole[a], broken[b], err_msg=f"{folder.name}: {a}")


def main(folder, replicas, family, *names):
    folder, replicas = pathlib.Path(folder), int(replicas)
    quick.graphs()
    if replicas > 1:
        strategies.split_cpu(replicas)
    strategy = strategies.strategy("mirrored" if replicas > 1 else "default")
    steps, losses = STEPS[family], {}
    for name in names or RUNS[family]:
        run, rate = RUNS[family][name], RATES.get(name, RATES[family])
        losses[name] = train(run, steps, rate, folder / name / "whole", strategy)
        if replicas == 1 or name in RESUMED_ON_REPLICAS:
            resume(run, steps, rate, folder / name, strategy, losses[name])
        print(name, losses[name], flush=True)
    (folder / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main(*sys.argv[1:])
