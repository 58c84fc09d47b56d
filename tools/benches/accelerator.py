"""Whole steps of SimCLR on a GPU: views made there from uint8 images, forward, backward, momentum SGD; in bfloat16.

Ours is the JAX engine's, which trains as `zoo-train` does; torch compiles its step, channels last, with lightly's loss,
and takes torchvision's transforms of tensors on the GPU: for every image by itself, as a run must, or with one draw for
a whole batch, which is another augmentation and a bound on what launching so many kernels costs. Both are given images
in the host's memory, and both begin with the same weights. Of the views, which are drawn apart, the statistics agree.
"""

import pathlib

from zoo.tools.benches import learners, runner, training, views
from zoo.tools.benches.peers import inputs

_SOURCE = "zoo.tools.benches.accelerator"
STEPS = 10  # in a run, as training does not wait for every step


def gpus():
    """Returns the names of this machine's GPUs, as reported by Nvidia's driver."""
    found = sorted(pathlib.Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return [path.read_text().partition("Model:")[2].partition("\n")[0].strip() for path in found]


def _on_jax():
    import os

    os.environ["KERAS_BACKEND"] = "jax"
    # By default JAX takes most of the memory at once, of which the peers need their part.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def step(encoder, size, batch, precision, steps):
    """Returns a run of several steps of the engine's trainer, and its check."""
    _on_jax()
    import jax
    import keras
    import numpy as np

    from zoo.tools import config
    from zoo.train import loop, on_jax, optimizers

    keras.config.set_dtype_policy(loop.PRECISIONS[precision])
    learner = learners.learner("simclr", encoder, size)
    optimizer = optimizers.SGD(learning_rate=inputs.RATE, momentum=inputs.MOMENTUM)
    optimizer.build(learner.trainable_variables)
    config.parse(["views/simclr.gin"], [f"geometry.Crop.size = {size}"])
    engine = on_jax.Engine()
    task = engine.task(learner, config.binding("views"), optimizer, 0, 10**9, 1000)
    data = {
        "image": inputs.images(batch, views.side(size)),
        "id": np.arange(batch, dtype=np.int32),
        "label": np.full(batch, -1, np.int32),
    }
    train = engine.trainer(task, _Same(data), batch, 0, 0, 10**9, True)
    starts = iter(range(0, 10**9, steps))
    make, epochs = jax.jit(task.views_of), iter(range(0, 10**9, 1000))

    def check(first):
        if not np.isfinite(first):
            raise ValueError(f"accelerator: expected a finite loss. Received: {first}.")
        return views.averaged(lambda: make(data, np.int32(next(epochs))))

    return lambda: train(next(starts), steps)["loss"], check


class _Same:
    """A data source that yields the same batch again and again."""

    def __init__(self, batch):
        self._batch = batch

    def batches(self, size, seed, start):
        del size, seed, start
        while True:
            yield dict(self._batch)


def arithmetic(precision, side):
    """Returns a matrix product on JAX of `2 * side ** 3` operations."""
    _on_jax()
    import jax
    from jax import numpy

    matrix = jax.random.normal(jax.random.key(0), (side, side)).astype(precision)
    product = jax.jit(lambda factor: numpy.sum((factor @ factor)[:1].astype("float32")))
    return lambda: float(product(matrix)), None


def ceilings(quick):
    """Returns candidates that measure a GPU's speed, by name, with the operations of a run; see `zoo.tools.bench`."""
    side = 256 if quick else 16384
    made = runner.Candidate("arithmetic", _SOURCE, "arithmetic", {"precision": "bfloat16", "side": side})
    return {"arithmetic": (made, 2.0 * side**3)}


def _group(encoder, size, batch, precision, target, steps, device, rounds):
    skip = "" if device == "cpu" or gpus() else "this machine has no GPU"
    given = {"encoder": encoder, "size": size, "batch": batch, "precision": precision, "steps": steps}
    name = "torch" if device == "cpu" else "torch.compile"
    torch = {**given, "side": views.side(size), "device": device, "compiled": device != "cpu"}

    def peer(name, **settings):
        return runner.Candidate(name, "torch_accelerator.py", "step", {**torch, **settings}, place="torch", skip=skip)

    candidate = runner.Candidate("zoo on JAX", _SOURCE, "step", given, skip=skip)
    peers = [
        peer(f"{name}, views image by image", together=False),
        peer(f"{name}, one draw for all images", together=True),
    ]
    return runner.Group(
        work=f"{encoder.replace('resnet', 'ResNet-')} at {size}², {batch} images, {precision}, {steps} steps",
        candidates=(candidate, *peers),
        pairs=tuple(runner.Pair(candidate.name, other.name, target=target) for other in peers),
        agree=0.1 if rounds == 1 else 0.04,
        count=batch * steps,
        flop=None if skip else 3 * steps * training.flop(encoder, size, 2 * batch),
        rounds=rounds,
    )


def groups(quick):
    """Returns the groups to measure; `quick` chooses sizes for tests, on a CPU."""
    if quick:
        return [_group("resnet18", 24, 16, "float32", None, 2, "cpu", 1)]
    return [
        _group("resnet50", 224, 128, "bfloat16", 1.0, STEPS, "cuda", 5),
        _group("resnet18", 32, 1024, "bfloat16", 1.0, STEPS, "cuda", 5),
    ]
