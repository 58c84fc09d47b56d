"""Trains every method for a few steps on the engine that runs: python engines_probe.py FOLDER REPLICAS [NAME ...]

Writes the losses of every step to FOLDER/losses.json and the state at the end to FOLDER/NAME.npz.
"""

import functools
import json
import pathlib
import sys

import keras
import numpy as np
from keras import ops
from reference import presets, quick

from zoo.data import sources
from zoo.methods import simclr
from zoo.train import engines, extraction, loop, optimizers, schedules, strategies
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


class Clustering(simclr.SimCLR):
    """SimCLR that pulls images to features which it extracts at the start of every epoch, of all images."""

    def begin(self, spec):
        super().begin(spec)
        width = self.embedder.encoder.output_shape[-1]
        self.features = self.add_weight(shape=(len(spec.ids), width), trainable=False, name="features")

    def new_epoch(self, epoch, extract):
        self.features.assign(extract(self.embedder.encoder))

    def contrast(self, batch, step):
        loss, logs, seen = super().contrast(batch, step)
        rows = ops.take(self.features, batch.id, axis=0)  # [B, F]
        distance = ops.mean(ops.abs(self.embedder.encoder(batch.views[0], training=True) - rows), axis=1)
        # Where the run stands is part of the loss.
        weight = 0.1 * step.progress + 0.1 * ops.cast(step.epoch, "float32")
        return loss + weight * distance, logs, seen


def clustering():
    return Clustering(presets.encoder, presets.projector, temperature=0.2)


# Two optimizers: biases and norm scales of one, kernels of the other; both decay in the way of Keras.
BY_PATH = optimizers.by_path(
    functools.partial(keras.optimizers.AdamW, weight_decay=0.1),
    (r"(hidden|embedding).*", functools.partial(keras.optimizers.SGD, momentum=0.9, weight_decay=0.2)),
)


def runs():
    """Returns by name the factory of a method, its views and its optimizer."""
    found = {"simclr": (nt_xent, view.Views((STRONG, STRONG)), optimizers.LARS)}
    for name in presets.PRESETS:
        found[name] = (lambda name=name: presets.make(name), presets.views(name), optimizers.SGD)
    for name in presets.WITH_NCE:
        nce = functools.partial(presets.make, name, estimator=presets.nce)
        found[f"{name}_nce"] = (nce, presets.views(name), optimizers.SGD)
    found["clustering"] = (clustering, view.Views((STRONG, STRONG)), optimizers.LARS)
    found["by_path"] = (nt_xent, view.Views((STRONG, STRONG)), BY_PATH)
    return found


def train(engine, data, method, views, optimizer):
    """Returns the losses of all steps, and the state after the last."""
    engine.set_seed(0)
    with engine.scope():
        learner = method()
        learner.begin(loop.make_spec(views, data, BATCH, engine.count))
        rate = schedules.WarmupCosine(base=0.3, warmup_epochs=1)(BATCH, STEPS, PER_EPOCH)
        optimizer = optimizers.build(optimizer, rate, "float32", learner.trainable_variables)
    task = engine.task(learner, views, optimizer, 0, STEPS, PER_EPOCH)
    advance, losses = engine.trainer(task, data, BATCH, 0, 0, STEPS, False), []
    extract = extraction.extraction(data, engine)
    for step in range(STEPS):
        if step % PER_EPOCH == 0:
            learner.new_epoch(step // PER_EPOCH, extract)
        losses.append(advance(step, 1)["loss"])
    # Numbered, since two networks of a method may have variables of one path.
    variables = (*learner.variables, *optimizer.variables)
    return losses, {f"{number:03d}:{v.path}": np.asarray(v) for number, v in enumerate(variables)}


def main(folder, replicas, *names):
    """Runs all methods, or those of these names."""
    folder, replicas = pathlib.Path(folder), int(replicas)
    quick.graphs()
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
