"""Training steps: forward and backward of both views, momentum SGD; images are given, and views cost nothing.

The method is SimCLR; the topic `methods` takes others. The second view is the mirrored first, all candidates begin with
the same weights, and their losses before and after the first update are compared.
"""

import pathlib

from zoo.tools.benches import learners, runner
from zoo.tools.benches.peers import inputs

_SOURCE = "zoo.tools.benches.training"
_TARGETS = ("byol", "moco_v3")  # methods with a second network, which has no gradient


def has_bfloat16():
    """Whether the CPU computes in bfloat16 and does not merely store it."""
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def flop(encoder, size, images):
    """Multiplications and additions of the convolutions that so many images pass, forward."""
    total, side = 0.0, size // (1 if size < 64 else 2)
    for name, (_, shape) in inputs.convolutions(encoder, size < 64).items():
        if name == "conv1":
            at = side
        else:
            group = int(name[5])
            base = size if size < 64 else size // 4
            at = base // 2 ** (group - 1)
            first = name.split(".")[1] == "0" and group > 1
            bottleneck = encoder == "resnet50"
            if first and bottleneck and name.endswith("conv1"):
                at *= 2  # its stride lies in the second convolution
        outputs, ins, high, wide = shape
        total += 2.0 * outputs * ins * high * wide * at * at
    return total * images


def step(method, encoder, size, batch, precision, compiled):
    """The loop's step, as a graph or eagerly."""
    import keras
    import numpy as np
    import tensorflow as tf

    from zoo.train import loop, optimizers
    from zoo.train import step as steps

    keras.config.set_dtype_policy(loop.PRECISIONS[precision])
    learner = learners.learner(method, encoder, size)
    optimizer = optimizers.SGD(learning_rate=inputs.RATE, momentum=inputs.MOMENTUM)
    optimizer.build(learner.trainable_variables)
    optimizer = steps.without_reduction(optimizer)
    train = steps.Step(learner, lambda images, seed: (images, images[:, :, ::-1]), optimizer, 0, 10**6, 1000)
    data = {
        "image": tf.constant(inputs.images(batch, size)),
        "id": tf.range(batch),
        "label": tf.constant(np.full(batch, -1, np.int32)),
    }
    if compiled:
        tf.config.optimizer.set_experimental_options({"dependency_optimization": False})  # as the loop does
        train = tf.function(train, autograph=False)
    now = tf.constant(0, tf.int64)

    def run():
        return float(train(data, now)["loss"])

    return run, lambda loss: [loss, run()]


def _torch(name, passes, **settings):
    return runner.Candidate(name, "torch_training.py", "step", {**settings, "passes": passes}, place="torch")


def group(encoder, size, batch, precision, compiled, target, rounds, method="simclr", views=(1, 2)):
    """Returns the candidates of a method's step.

    Args:
        encoder: name of a ResNet.
        size: height and width of the images.
        batch: number of images.
        precision: "float32" or "bfloat16".
        compiled: whether ours is a graph, and torch's compiled, too.
        target: see `runner.Pair`.
        rounds: see `runner.Group`; with 1, torch is not compiled.
        method: name in `inputs.HEADS`.
        views: in how many passes torch takes the two views: as ours, then of a further compiled candidate, if any.
    """
    shared = {"method": method, "encoder": encoder, "size": size, "batch": batch, "precision": precision}
    skip = "" if precision == "float32" or has_bfloat16() else "this CPU has no bfloat16 arithmetic"
    how = "compiled" if compiled else "eager"
    ours = runner.Candidate(f"zoo, {how}", _SOURCE, "step", {**shared, "compiled": compiled}, skip=skip)
    peers = [_torch("torch, channels_last", views[0], **shared, compiled=False, channels_last=True)]
    if compiled and rounds > 1:  # compiling takes minutes, too long for a test
        name, settings = "torch.compile, channels_last", {**shared, "compiled": True, "channels_last": True}
        names = [name, f"{name}, a pass per view"]
        peers += [_torch(*pair, **settings) for pair in zip(names, views, strict=False)]
    if skip:
        peers = [runner.Candidate(peer.name, peer.source, peer.function, place=peer.place, skip=skip) for peer in peers]
    passes = 4 if method in _TARGETS else 3  # a gradient costs two
    return runner.Group(
        work=f"{encoder.replace('resnet', 'ResNet-')} at {size}², {batch} images, {precision}",
        candidates=(ours, *peers),
        pairs=tuple(runner.Pair(ours.name, peer.name, target=target) for peer in peers),
        agree=2e-3 if precision == "float32" else 5e-2,
        count=batch,
        flop=passes * flop(encoder, size, 2 * batch) if precision == "float32" else None,
        rounds=rounds,
    )


def groups(quick):
    """ResNet-18 at 32²; `quick` is of a size for tests."""
    if quick:
        return [group("resnet18", 16, 4, "float32", True, 1.25, 1)]
    return [
        group("resnet18", 32, 128, "float32", True, 1.25, 7),
        group("resnet18", 32, 128, "float32", False, None, 5),
        group("resnet18", 32, 128, "bfloat16", True, runner.LEVEL, 5),
    ]


def large(quick):
    """ResNet-50 at 224²; `quick` is of a size for tests."""
    if quick:
        return [group("resnet50", 64, 2, "float32", False, 1.25, 1)]
    return [
        group("resnet50", 224, 16, "float32", True, 1.25, 5),
        group("resnet50", 224, 16, "float32", False, None, 3),
        group("resnet50", 224, 16, "bfloat16", True, runner.LEVEL, 5),
    ]
