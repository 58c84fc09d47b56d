"""Runs one training step, the views and ten updates under a strategy, and saves what every replica got.

python replicas_probe.py default|mirrored|multi_worker COUNT OUT.npz

A process of its own for each strategy, since two MirroredStrategies with different devices collide in one.
"""

import functools
import sys

import keras
import numpy as np
import tensorflow as tf
from reference import presets, quick

from zoo import engine
from zoo.methods import method as methods
from zoo.methods import simclr
from zoo.models import convnet, heads
from zoo.train import optimizers, step, strategies
from zoo.views import color, geometry, view

BATCH, SHAPE = 16, (8, 8, 1)
CHAIN = view.Chain((geometry.Crop(8, area=(0.3, 1.0)), geometry.Flip(), view.Sometimes(color.Grayscale(), 0.5)))
OPTIMIZERS = {
    "lars": lambda learning_rate: optimizers.LARS(5 * learning_rate),
    "sgd": optimizers.SGD,
    "adamw": lambda learning_rate: keras.optimizers.AdamW(learning_rate / 10),
    "by_path": optimizers.by_path(
        functools.partial(keras.optimizers.SGD, momentum=0.9, weight_decay=0.1, global_clipnorm=0.5),
        (r"(hidden|embedding).*", functools.partial(optimizers.SGD, weight_decay=0.1)),
    ),
}
VIEWS = {}  # `view.Views` -> the function that makes them


def make_step(method, views, optimizer):
    """The step, its views traced once for all replicas, and for all methods that have the same: tracing takes long."""
    optimizer = step.without_reduction(optimizer)
    made = step.Step(method, views, optimizer, seed=3, steps=20, steps_per_epoch=4)
    made.views_of = VIEWS.setdefault(views, tf.function(made.views_of, autograph=False))
    return made


def batch(seed):
    """A global batch of noise."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (BATCH, *SHAPE), dtype=np.uint8)
    return {"image": images, "id": generator.permutation(10_000)[:BATCH].astype(np.int32)}


def color_batch(step):
    """Returns a global batch of the data that the methods with a memory know, every image once in four steps."""
    generator = np.random.default_rng(step)
    images = generator.integers(0, 256, (BATCH, *presets.SHAPE), dtype=np.uint8)
    order = np.random.default_rng(100 + step // 4).permutation(presets.DATA)
    return {"image": images, "id": order[step % 4 * BATCH :][:BATCH].astype(np.int32)}


def make(group, optimizer):
    """The step of a small SimCLR."""
    keras.utils.set_random_seed(0)
    with group.scope():
        method = simclr.SimCLR(
            lambda image_shape: convnet.convnet(image_shape, (8, 16)),
            lambda width: heads.projector(width, (16, 8)),
            temperature=0.5,
        )
        method.begin(methods.Spec((SHAPE, SHAPE), np.arange(10_000), BATCH))
        optimizer = optimizers.build(optimizer, 0.01, "float32", method.trainable_variables)
    return make_step(method, view.Views((CHAIN, CHAIN)), optimizer)


def make_preset(group, name):
    """The step of one of the methods with a memory, and its optimizer."""
    keras.utils.set_random_seed(0)
    with group.scope():
        changes = {"cmc": {"estimator": presets.nce}, "pirl": {"per_image": False}}
        method = presets.make(name, **changes.get(name, {}))
        method.begin(presets.spec(name, batch_size=BATCH, replica_count=group.num_replicas_in_sync))
        optimizer = optimizers.SGD(0.02)
        optimizer.build(method.trainable_variables)
    return make_step(method, presets.views(name), optimizer)


def on_parts(group, function):
    """Runs a replica's function on the parts of a global batch; returns every local replica's result."""
    size = BATCH // group.num_replicas_in_sync

    @tf.function(autograph=False)
    def run(parts, now):
        return group.run(function, (parts, now))

    def call(whole, now):
        def part(context):
            first = context.replica_id_in_sync_group * size
            return {name: tf.constant(value[first : first + size]) for name, value in whole.items()}

        found = run(group.experimental_distribute_values_from_function(part), tf.constant(now, tf.int64))
        return tf.nest.map_structure(group.experimental_local_results, found)

    return call


def clipped(group):
    """The step from [3, 0] on the first replica and [0, 4] on the last, clipped to norm 1."""
    with group.scope():
        variable = keras.Variable(np.zeros(2, np.float32))
        optimizer = keras.optimizers.SGD(1.0, global_clipnorm=1.0)
        optimizer.build([variable])
    step.without_reduction(optimizer)

    @tf.function(autograph=False)
    def run():
        def on_replica():
            replicas = engine.current().replicas()
            index = tf.cast(replicas.index, tf.float32)
            gradient = tf.stack([tf.where(index == 0, 3.0, 0.0), tf.where(index == replicas.count - 1, 4.0, 0.0)])
            optimizer.apply([replicas.sum(gradient)], [variable])

        group.run(on_replica)

    run()
    return variable.numpy()


def gathered(group):
    """Everyone's rows, and the gradient of a replica's own through all of them."""

    @tf.function(autograph=False)
    def run():
        def on_replica():
            replicas = engine.current().replicas()
            rows = tf.cast(replicas.index, tf.float32) * 10 + tf.reshape(tf.range(6.0), (2, 3))
            with tf.GradientTape() as tape:
                tape.watch(rows)
                everyone = replicas.gather(rows)
                total = tf.reduce_sum(everyone * tf.cast(replicas.index + 1, tf.float32))
            return everyone, tape.gradient(total, rows)

        return group.run(on_replica)

    return [np.stack(group.experimental_local_results(found)) for found in run()]


def optimizers_of(kind, count):
    """Returns the names of the optimizers that are tried: all on one device and on two replicas, else two in one."""
    return OPTIMIZERS if (kind, count) in (("default", 1), ("mirrored", 2)) else ("by_path",)


def main(kind, count, out):
    """Runs and saves."""
    quick.graphs()
    if kind != "multi_worker":
        strategies.split_cpu(count)
    group = strategies.strategy(kind)
    found = {}
    made = make(group, OPTIMIZERS["sgd"])
    logs, gradients, _ = on_parts(group, made.gradients)(batch(0), 5)
    found.update({f"log:{name}": np.stack(parts) for name, parts in logs.items()})
    found.update({f"gradient:{i:02d}": np.stack(parts) for i, parts in enumerate(gradients)})
    for i, parts in enumerate(on_parts(group, made.views_of)(batch(0), 5)):
        found[f"view:{i}"] = np.concatenate([part.numpy() for part in parts])
    for name in optimizers_of(kind, count):
        made = make(group, OPTIMIZERS[name])
        advance = on_parts(group, made)
        for now in range(10):
            advance(batch(now), now)
        for i, variable in enumerate(made.method.variables):
            parts = group.experimental_local_results(variable.value)
            found[f"weight:{name}:{i:02d}"] = np.stack([part.numpy() for part in parts])
    # All on one device and on two replicas; some elsewhere, as each has to be traced anew for every replica.
    for name in presets.PRESETS if (kind, count) in (("default", 1), ("mirrored", 2)) else presets.FEW:
        made = make_preset(group, name)
        advance = on_parts(group, made)
        for now in range(5):
            logs = advance(color_batch(now), now)
        found[f"last:{name}"] = np.stack(logs["loss"])
        for i, variable in enumerate(made.method.variables):
            parts = group.experimental_local_results(variable.value)
            found[f"state:{name}:{i:03d}:{variable.path}"] = np.stack([part.numpy() for part in parts])
    found["clipped"] = clipped(group)
    found["everyone"], found["everyone_gradient"] = gathered(group)
    np.savez(out, **found)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
