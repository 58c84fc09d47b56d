"""Trains every method for a few steps on the engine that runs: python engines_probe.py FOLDER REPLICAS [NAME ...]

Writes the losses of every step to FOLDER/losses.json and the state at the end to FOLDER/NAME.npz.
"""

import json
import pathlib
import sys

import numpy as np
from reference import presets

from zoo.data import sources
from zoo.methods import comparisons, simclr
from zoo.train import engines, optimizers, schedules, strategies
from zoo.views import blur, color, geometry, view

STEPS, BATCH, PER_EPOCH = 20, 16, presets.DATA // 16
# Every kind of view that the presets lack.
STRONG = view.Chain(
    (
        geometry.Crop(8, area=(0.3, 1.0)),
        geometry.Flip(),
        view.Sometimes(color.Jitter(), 0.8),
        view.Sometimes(color.Grayscale(), 0.2),
        view.Sometimes(blur.Blur(), 0.5),
    )
)


def nt_xent():
    return simclr.SimCLR(presets.encoder, presets.projector, temperature=0.2)


def runs():
    """Name -> factory of a method, its views and its optimizer."""
    found = {"simclr": (nt_xent, view.Views((STRONG, STRONG)), optimizers.LARS)}
    for name in presets.PRESETS:
        found[name] = (lambda name=name: presets.make(name), presets.views(name), optimizers.SGD)
    found["nce"] = (lambda: presets.make("insdis", comparisons.NCE), presets.views("insdis"), optimizers.SGD)
    return found


def train(engine, data, method, views, optimizer):
    """Losses of all steps, and the state after the last."""
    engine.set_seed(0)
    with engine.scope():
        learner = method()
        teacher = optimizer(schedules.WarmupCosine(base=0.3, warmup_epochs=1)(BATCH, STEPS, PER_EPOCH))
        teacher.build(learner.trainable_variables)
        learner.begin()
    task = engine.task(learner, views, teacher, 0, PER_EPOCH)
    advance = engine.trainer(task, data, BATCH, 0, 0, STEPS, False)
    losses = [advance(step, 1)["loss"] for step in range(STEPS)]
    state = {v.path: np.asarray(v) for v in (*learner.variables, *teacher.variables)}
    return losses, state


def main(folder, replicas, *names):
    """Runs all methods, or those of these names."""
    folder, replicas = pathlib.Path(folder), int(replicas)
    if replicas > 1:
        strategies.split_cpu(replicas)
    engine = engines.engine(strategies.strategy("mirrored" if replicas > 1 else "default"))
    data = sources.load("digits", f"train[:{presets.DATA}]", channels=3)
    losses = {}
    for name, parts in runs().items():
        if names and name not in names:
            continue
        losses[name], state = train(engine, data, *parts)
        np.savez(folder / f"{name}.npz", **state)
        print(name, losses[name][-1], flush=True)
    (folder / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main(*sys.argv[1:])
