"""How the zoo's costs grow: with the batch, the image's size, the replicas, the queue and the data set."""

import functools

from zoo.tools.benches import evaluation, losses, runner, serving

_SOURCE = "zoo.tools.benches.growth"


def replicated(count, batch):
    """A training step of SimCLR on as many logical CPUs, which share the cores and a global batch."""
    import numpy as np
    import tensorflow as tf

    from zoo.methods import method, simclr
    from zoo.models import convnet, heads
    from zoo.tools.benches.peers import inputs
    from zoo.train import optimizers, strategies
    from zoo.train import step as steps

    strategies.split_cpu(count)
    strategy = strategies.strategy("mirrored" if count > 1 else "default")
    with strategy.scope():
        learner = simclr.SimCLR(
            functools.partial(convnet.convnet, widths=(32, 64, 128), depth=2),
            functools.partial(heads.projector, widths=(256, 64)),
        )
        learner.begin(method.Spec(((32, 32, 3),) * 2, np.arange(batch), batch))
        optimizer = optimizers.SGD(learning_rate=0.01, momentum=0.9)
        optimizer.build(learner.trainable_variables)
    optimizer = steps.without_reduction(optimizer)
    train = steps.Step(learner, lambda images, seed: (images, images[:, :, ::-1]), optimizer, 0, 10**6, 1000)
    share = batch // count
    data = {
        "image": tf.constant(inputs.images(share, 32)),
        "id": tf.range(share),
        "label": tf.constant(np.full(share, -1, np.int32)),
    }

    train = tf.autograph.experimental.do_not_convert(train)

    @tf.function
    def advance(now):
        logs = strategy.run(train, (data, now))
        return strategy.reduce("MEAN", logs["loss"], axis=None)

    now = tf.constant(0, tf.int64)
    return lambda: float(advance(now)), None


def curves(quick):
    """What grows -> (what is measured, points x -> group of one candidate's run); `quick` is of a size for tests."""

    def curve(work, source, function, setting, values, **given):
        candidates = {
            value: runner.Candidate(f"{value}", source, function, {**given, setting: value}) for value in values
        }
        return work, candidates

    def some(*values):
        return values[:2] if quick else values

    return {
        "pairs of a batch": curve(
            "NT-Xent, forward and backward", losses._SOURCE, "ours", "pairs",
            some(256, 512, 1024, 2048, 4096, 8192), compiled=False,
        ),
        "image size": curve(
            "features of ResNet-18, batch 16", serving._SOURCE, "extractor", "size",
            some(64, 96, 128, 160, 192, 224), encoder="resnet18", batch=2 if quick else 16,
        ),
        "replicas": curve(
            "a step of a ConvNet, 128 images in all", _SOURCE, "replicated", "count",
            some(1, 2, 4, 8), batch=8 if quick else 128,
        ),
        "queue": curve(
            "256 queries against a queue, and entering", losses._SOURCE, "queue", "size",
            some(4096, 16384, 65536, 262144), batch=16 if quick else 256, compiled=False,
        ),
        "data set": curve(
            "20 nearest for 1,000 queries, 512 features", evaluation._SOURCE, "neighbors", "train",
            some(5_000, 10_000, 20_000, 40_000, 80_000, 160_000), test=1000, width=16 if quick else 512, k=20,
        ),
    }  # fmt: skip


def groups(quick):
    """A group per curve: its points take turns."""
    return [
        runner.Group(work=f"{quantity}: {work}", candidates=tuple(candidates.values()), pairs=(), limited=True)
        for quantity, (work, candidates) in curves(quick).items()
    ]


def points(group, found):
    """A curve as it is recorded: what grows, and x with milliseconds, their quartiles and the extra memory."""
    import numpy as np

    quantity, _, work = group.work.partition(": ")
    made = []
    for candidate in group.candidates:
        cost, x = found[candidate.name], int(candidate.name)
        if "missing" in cost:
            made.append({"x": x, "missing": cost["missing"]})
            continue
        low, middle, high = (float(f"{1000 * each:.4g}") for each in np.percentile(cost["wall"], (25, 50, 75)))
        made.append({"x": x, "ms": middle, "low": low, "high": high, "extra_mb": float(f"{cost['extra_mb']:.4g}")})
    return {"quantity": quantity, "work": work, "points": made}


def draw(curves, place):
    """Draws the recorded curves, times above and memory below, as one picture."""
    import matplotlib
    from matplotlib import figure as figures
    from matplotlib import ticker

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "zoo", "font.size": 8})
    figure = figures.Figure(figsize=(3 * len(curves), 5), layout="constrained")
    axes = figure.subplots(2, len(curves), squeeze=False)
    for column, curve in enumerate(curves):
        there = [point for point in curve["points"] if "missing" not in point]
        values = [point["x"] for point in there]
        for axis, name, label in zip(axes[:, column], ("ms", "extra_mb"), ("ms", "extra MB"), strict=True):
            axis.plot(values, [max(point[name], 0.1) for point in there], "o-", markersize=3)
            axis.set(xscale="log", yscale="log", xlabel=curve["quantity"], ylabel=label)
            axis.set_xticks(values, [f"{value:,}" for value in values])
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
            for side in (axis.xaxis, axis.yaxis):
                side.set_minor_locator(ticker.NullLocator())
            axis.grid(alpha=0.3)
        axes[0, column].set_title(curve["work"], fontsize=7)
    figure.savefig(place, metadata={"Date": None} if str(place).endswith(".svg") else None)
