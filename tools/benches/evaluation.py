"""Judging: exact nearest neighbors, and the linear probe with and without the choice of its penalty."""

from zoo.tools.benches import runner
from zoo.tools.benches.peers import inputs

_SOURCE = "zoo.tools.benches.evaluation"
CLASSES = 10


def neighbors(train, test, width, k):
    """`zoo.transfer.knn.neighbors`, with the scaling to unit length."""
    from zoo.transfer import knn

    features, queries = inputs.unit(train, width), inputs.unit(test, width, 1)
    return lambda: knn.neighbors(features, queries, k), lambda found: checked(*found)


def checked(similarities, rows):
    """Means of the similarities at three ranks, and of the nearest rows, which all exact searches share."""
    return [*similarities.mean(axis=0)[[0, 1, -1]], rows[:, 0].mean() / 1e6]


def fit(train, width, l2):
    """`zoo.transfer.logistic.fit` under one penalty."""
    from zoo.transfer import logistic

    features, labels = inputs.features(train, width, CLASSES)
    return lambda: logistic.fit(features, labels, l2), lambda found: [objective(features, labels, l2, *found)]


def objective(features, labels, l2, kernel, bias):
    """What the probe minimises."""
    import numpy as np

    logits = features @ kernel + bias
    highest = logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0] - logits[np.arange(len(labels)), labels]
    return losses.mean() + 0.5 * l2 * np.square(kernel).sum()


def sweep(train, test, width):
    """`zoo.transfer.linear.linear_accuracy`: the penalty is chosen by five folds, then all are fitted."""
    from zoo.transfer import linear

    data = [each for seed, count in enumerate((train, test)) for each in inputs.features(count, width, CLASSES, seed)]
    return lambda: linear.linear_accuracy(*data), lambda found: [found[0]]


def _neighbors(train, test, width, k, rounds):
    given = {"train": train, "test": test, "width": width, "k": k}
    candidates = (
        runner.Candidate("zoo", _SOURCE, "neighbors", given),
        runner.Candidate("faiss, IndexFlatIP", "faiss_neighbors.py", "flat", given, place="faiss"),
        runner.Candidate("scikit-learn", "sklearn_probes.py", "neighbors", given, place="sklearn"),
    )
    zoo, *peers = (candidate.name for candidate in candidates)
    return runner.Group(
        work=f"{k} nearest of {train:,} for {test:,}, {width} features",
        candidates=candidates,
        pairs=tuple(runner.Pair(zoo, peer, by, 1.0 if by == "time" else None)
                    for peer in peers for by in ("time", "memory")),
        agree=1e-4,
        count=test,
        flop=2.0 * train * test * width,
        rounds=rounds,
    )  # fmt: skip


def _probe(work, function, given, agree, target, rounds):
    candidates = (
        runner.Candidate("zoo", _SOURCE, function, given),
        runner.Candidate("scikit-learn", "sklearn_probes.py", function, given, place="sklearn"),
    )
    pairs = (runner.Pair("zoo", "scikit-learn", target=target),)
    return runner.Group(work=work, candidates=candidates, pairs=pairs, agree=agree, rounds=rounds)


def groups(quick):
    """Returns the groups to measure; with `quick`, of a size for tests."""
    if quick:
        train, test, width = 400, 100, 16
        return [
            _neighbors(train, test, width, 5, 1),
            _probe("fit", "fit", {"train": train, "width": width, "l2": 0.01}, 2e-3, None, 1),
            _probe("sweep", "sweep", {"train": train, "test": test, "width": width}, 0.03, 5.0, 1),
        ]
    train, test, width = 20_000, 5_000, 512
    size = f"{train:,} x {width}, {CLASSES} classes"
    return [
        _neighbors(50_000, 10_000, 512, 200, None),
        _probe(f"logistic regression, {size}, one penalty", "fit", {"train": train, "width": width, "l2": 1e-3},
               2e-3, None, 3),
        _probe(f"linear probe, {size}, penalty by five folds", "sweep",
               {"train": train, "test": test, "width": width}, 5e-3, 5.0, 3),
    ]  # fmt: skip
