"""Training steps of SimCLR: forward and backward of both views, momentum SGD; views are given.

The second view is the mirrored first, all candidates begin with the same weights, and their first losses are compared.
"""

import pathlib

from zoo.tools.benches import runner
from zoo.tools.benches.peers import inputs

_SOURCE = "zoo.tools.benches.training"
HIDDEN, WIDTH, TEMPERATURE, RATE = 512, 128, 0.5, 0.01


def has_bfloat16():
    """Returns whether the CPU computes in bfloat16, instead of only storing it."""
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def flop(encoder, size, images):
    """Returns the multiplications and additions of the convolutions in a forward pass."""
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


def learner(encoder, size):
    """Returns SimCLR with the initial weights of all candidates, on either engine."""
    from zoo.methods import simclr
    from zoo.models import heads
    from zoo.tools.benches import weights

    made = simclr.SimCLR(
        lambda: weights.resnet(encoder, size),
        lambda features: heads.projector(features, widths=(HIDDEN, WIDTH)),
        temperature=TEMPERATURE,
    )
    weights.fill_projector(made.projector, made.encoder.output_shape[-1], HIDDEN, WIDTH)
    return made


def step(encoder, size, batch, precision, compiled):
    """Returns the loop's step, as a graph or eagerly."""
    import keras
    import numpy as np
    import tensorflow as tf

    from zoo.train import loop, optimizers
    from zoo.train import step as steps

    keras.config.set_dtype_policy(loop.PRECISIONS[precision])
    taught = learner(encoder, size)
    teacher = optimizers.SGD(learning_rate=RATE, momentum=0.9)
    teacher.build(taught.trainable_variables)
    update = steps.Step(taught, lambda images, seed: (images, images[:, :, ::-1]), steps.alone(teacher), 0, 1000)
    data = {
        "image": tf.constant(inputs.images(batch, size)),
        "id": tf.range(batch),
        "label": tf.constant(np.full(batch, -1, np.int64)),
    }
    if compiled:
        tf.config.optimizer.set_experimental_options({"dependency_optimization": False})  # as the loop does
        update = tf.function(update, autograph=False)
    now = tf.constant(0, tf.int64)
    return lambda: float(update(data, now)["loss"]), lambda loss: [loss]


def _torch(name, **settings):
    return runner.Candidate(name, "torch_training.py", "step", settings, place="torch")


def _group(encoder, size, batch, precision, compiled, targets, rounds):
    shared = {"encoder": encoder, "size": size, "batch": batch, "precision": precision}
    skip = "" if precision == "float32" or has_bfloat16() else "this CPU has no bfloat16 arithmetic"
    how = "compiled" if compiled else "eager"
    ours = runner.Candidate(f"zoo, {how}", _SOURCE, "step", {**shared, "compiled": compiled}, skip=skip)
    peers = [_torch("torch, channels_last", **shared, compiled=False, channels_last=True, passes=1)]
    if compiled and rounds > 1:  # compiling takes minutes, too long for a test
        peers += [
            _torch("torch.compile, channels_last", **shared, compiled=True, channels_last=True, passes=1),
            _torch("torch.compile, channels_last, a pass per view", **shared, compiled=True, channels_last=True,
                   passes=2),
        ]  # fmt: skip
    if skip:
        peers = [runner.Candidate(peer.name, peer.source, peer.function, place=peer.place, skip=skip) for peer in peers]
    return runner.Group(
        work=f"{encoder.replace('resnet', 'ResNet-')} at {size}², {batch} images, {precision}",
        candidates=(ours, *peers),
        pairs=tuple(runner.Pair(ours.name, peer.name, target=targets) for peer in peers),
        agree=2e-3 if precision == "float32" else 5e-2,
        count=batch,
        flop=3 * flop(encoder, size, 2 * batch) if precision == "float32" else None,
        rounds=rounds,
    )


def groups(quick):
    """Returns the groups of ResNet-18 at 32²; `quick` chooses sizes for tests."""
    if quick:
        return [_group("resnet18", 16, 4, "float32", True, 1.25, 1)]
    return [
        _group("resnet18", 32, 128, "float32", True, 1.25, 7),
        _group("resnet18", 32, 128, "float32", False, None, 5),
        _group("resnet18", 32, 128, "bfloat16", True, runner.LEVEL, 5),
    ]


def large(quick):
    """Returns the groups of ResNet-50 at 224²; `quick` chooses sizes for tests."""
    if quick:
        return [_group("resnet50", 64, 2, "float32", False, 1.25, 1)]
    return [
        _group("resnet50", 224, 16, "float32", True, 1.25, 5),
        _group("resnet50", 224, 16, "float32", False, None, 3),
        _group("resnet50", 224, 16, "bfloat16", True, runner.LEVEL, 5),
    ]
