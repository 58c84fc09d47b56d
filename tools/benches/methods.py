"""Methods: a training step beside lightly's, Sinkhorn as a share of a step, and the clustering that precedes an epoch.

A step is that of `training`, with each method's own heads and loss. Sinkhorn's share does not depend on the batch, for
which both cost proportionally more: its ratio is to the step of a part of its batch, and its target is that part's.
"""

import dataclasses

from zoo.tools.benches import runner, training
from zoo.tools.benches.peers import inputs

_SOURCE = "zoo.tools.benches.methods"
# Name in `inputs.HEADS`, title, and in how many passes both sides take the views.
METHODS = (("swav", "SwAV", 1), ("byol", "BYOL", 2), ("simsiam", "SimSiam", 2), ("moco_v3", "MoCo v3", 2))
SHARE = 0.05  # of a step, at most, for Sinkhorn


def sinkhorn(batch):
    """`zoo.objectives.swapped.sinkhorn` of the scores of both views."""
    import tensorflow as tf

    from zoo import replicas
    from zoo.objectives import swapped

    @tf.function(autograph=False)
    def run(*scores):
        return [swapped.sinkhorn(view, inputs.EPSILON, inputs.ITERATIONS, replicas.Alone()) for view in scores]

    given = [tf.constant(view) for view in inputs.scores(batch)]
    return lambda: [codes.numpy() for codes in run(*given)], lambda found: inputs.assigned(*found)


def step(encoder, size, batch):
    """SwAV's step."""
    run, _ = training.step("swav", encoder, size, batch, "float32", True)
    return run, None


def kmeans(rows, width, count):
    """`zoo.methods.clustering.kmeans`."""
    from zoo.methods import clustering

    embeddings = inputs.clustered(rows, width)
    return lambda: clustering.kmeans(embeddings, count), lambda found: [inputs.spread(embeddings, *found)]


def _step(method, title, passes, size, batch, rounds):
    made = training.group("resnet18", size, batch, "float32", True, 1.1, rounds, method, (passes,))
    # On one core the CPU time says something even if the machine is busy; on several, torch's threads wait in loops.
    pairs = (*made.pairs, *(dataclasses.replace(pair, by="CPU time", target=None) for pair in made.pairs))
    # SimSiam's loss, a mean of cosines, may begin near 0.
    return dataclasses.replace(made, work=f"{title}, {made.work}", pairs=pairs, agree=2e-4)


def _sinkhorn(encoder, size, batch, part, rounds):
    given = {"batch": batch}
    candidates = (
        runner.Candidate("zoo, Sinkhorn", _SOURCE, "sinkhorn", given),
        runner.Candidate("lightly, Sinkhorn", "torch_methods.py", "sinkhorn", given, place="torch"),
        runner.Candidate(f"zoo, step of {part} images", _SOURCE, "step",
                         {"encoder": encoder, "size": size, "batch": part}),
    )  # fmt: skip
    ours, peer, whole = (candidate.name for candidate in candidates)
    return runner.Group(
        work=f"Sinkhorn of both views, {batch:,} images x {inputs.PROTOTYPES:,} prototypes",
        candidates=candidates,
        pairs=(runner.Pair(ours, peer, target=1.0), runner.Pair(ours, whole, target=part / batch / SHARE)),
        agree=1e-4,
        count=batch,
        rounds=rounds,
    )


def _kmeans(rows, width, count, rounds):
    given = {"rows": rows, "width": width, "count": count}
    candidates = (
        runner.Candidate("zoo", _SOURCE, "kmeans", given),
        runner.Candidate("faiss", "faiss_clustering.py", "kmeans", given, place="faiss"),
    )
    return runner.Group(
        work=f"{count:,} clusters of {rows:,} x {width}",
        candidates=candidates,
        # Not by CPU time: the threads of both wait for each other in loops, for long where others use the cores.
        pairs=(runner.Pair("zoo", "faiss", target=1.0),),
        agree=0.02,  # both begin with centers of their own
        count=rows,
        rounds=rounds,
    )


def groups(quick):
    """Returns the groups to measure; with `quick`, of a size for tests."""
    # With 16 images a step takes a second or two on a core.
    size, batch, rounds = (16, 4, 1) if quick else (32, 16, 7)
    made = [_step(*method, size, batch, rounds) for method in METHODS]
    if quick:
        return [*made, _sinkhorn("resnet18", 16, 64, 4, 1), _kmeans(500, 16, 10, 1)]
    made.append(_sinkhorn("resnet18", 32, 4096, 64, 5))
    return [*made, *(_kmeans(60_000, 128, count, 3) for count in (250, 1000))]
