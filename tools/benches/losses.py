"""Losses with their gradients: NT-Xent of a batch, and of queries against MoCo's queue, whose keys move on."""

from zoo.tools.benches import runner
from zoo.tools.benches.peers import inputs

_SOURCE = "zoo.tools.benches.losses"
WIDTH, TEMPERATURE = 128, 0.1


def _graph(loss, given, compiled):
    """A function of a loss and its gradients, traced for the shape of `given`; and `given` as tensors."""
    import tensorflow as tf

    @tf.function(jit_compile=compiled, autograph=False)
    def with_gradients(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = loss(*tensors)
        return value, tape.gradient(value, tensors)

    tensors = [tf.constant(each) for each in given]
    with_gradients.get_concrete_function(*tensors)
    return with_gradients, tensors


def _check(*embeddings):
    """Returns the results that must agree: loss, and norms of gradients along the sphere; some peers normalize anew."""
    import numpy as np

    def numbers(found):
        value, gradients = float(found[0]), [np.asarray(each) for each in found[1]]
        along = [g - (g * z).sum(axis=1, keepdims=True) * z for g, z in zip(gradients, embeddings, strict=True)]
        # A gradient's norm falls with the number of pairs: in relation to the loss it would not count.
        return [value, *(1e2 * float(np.linalg.norm(each)) for each in along)]

    return numbers


def ours(pairs, compiled):
    """`zoo.objectives.info_nce.nt_xent`."""
    import tensorflow as tf

    from zoo import replicas
    from zoo.objectives import info_nce

    def loss(a, b):
        return tf.reduce_mean(info_nce.nt_xent(a, b, TEMPERATURE, replicas.Alone())[0])

    embeddings = inputs.pairs(pairs, WIDTH)
    run, given = _graph(loss, embeddings, compiled)
    return lambda: _ended(run(*given)), _check(*embeddings)


def naive(pairs, compiled):
    """All against all in one matrix, as it is commonly written."""
    import tensorflow as tf

    def loss(a, b):
        both = tf.concat([a, b], axis=0)  # [2N, D]
        logits = tf.matmul(both, both, transpose_b=True) / TEMPERATURE  # [2N, 2N]
        logits = tf.linalg.set_diag(logits, tf.fill([2 * pairs], -1e9))
        positive = tf.concat([tf.range(pairs, 2 * pairs), tf.range(pairs)], axis=0)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(positive, logits))

    embeddings = inputs.pairs(pairs, WIDTH)
    run, given = _graph(loss, embeddings, compiled)
    return lambda: _ended(run(*given)), _check(*embeddings)


def _ended(found):
    found[1][-1].numpy()
    return found


def queue(size, batch, compiled):
    """MoCo's loss by `info_nce.against_memory` and `memory.MomentumQueue`, which the keys then enter."""
    import tensorflow as tf

    from zoo import context
    from zoo.methods import memory
    from zoo.objectives import info_nce

    store = memory.MomentumQueue(size, WIDTH)
    store.keys.assign(inputs.unit(size, WIDTH, seed=5))
    query, key = (tf.constant(each) for each in inputs.pairs(batch, WIDTH))

    @tf.function(jit_compile=compiled, autograph=False)
    def step(query, key, ids):
        with context.using(xla=compiled):
            with tf.GradientTape() as tape:
                tape.watch(query)
                negatives, allowed = store.negatives(ids)
                losses, _ = info_nce.against_memory(query, key, negatives, TEMPERATURE, allowed)
                value = tf.reduce_mean(losses)
            gradient = tape.gradient(value, query)
            with tf.control_dependencies([value, gradient]):
                store.push(key, ids)
        return value, [gradient]

    step.get_concrete_function(query, key, tf.range(batch))
    first = iter(range(0, 2**30, batch))
    return lambda: _ended(step(query, key, tf.range(batch) + next(first))), _check(query.numpy())


def _nt_xent(pairs, target_time, target_memory, rounds, few=False):
    given = {"pairs": pairs}
    candidates = (
        runner.Candidate("zoo", _SOURCE, "ours", {**given, "compiled": False}),
        runner.Candidate("zoo, jit_compile", _SOURCE, "ours", {**given, "compiled": True}),
        runner.Candidate("naive, TensorFlow", _SOURCE, "naive", {**given, "compiled": False}),
        runner.Candidate("naive, jit_compile", _SOURCE, "naive", {**given, "compiled": True}),
        runner.Candidate("naive, torch", "torch_losses.py", "naive", given, place="torch"),
        runner.Candidate("lightly", "torch_losses.py", "lightly", given, place="torch"),
    )
    # Where all need minutes and gigabytes, what XLA makes of it is left out.
    candidates = tuple(each for each in candidates if not (few and "jit_compile" in each.name))
    naive = [candidate.name for candidate in candidates if not candidate.name.startswith("zoo")]
    found = []
    for peer in naive:
        found += [runner.Pair("zoo", peer, "time", target_time), runner.Pair("zoo", peer, "memory", target_memory)]
    if not few:
        found += [runner.Pair("zoo, jit_compile", "naive, jit_compile", "time", target_time)]
    return runner.Group(
        work=f"NT-Xent of {pairs:,} pairs, forward and backward",
        candidates=candidates,
        pairs=tuple(found),
        agree=1e-4,
        count=pairs,
        flop=3 * 2.0 * (2 * pairs) ** 2 * WIDTH / 2,  # by symmetry half of the products would do
        rounds=rounds,
        limited=True,
    )


def _queue(size, batch, rounds):
    given = {"size": size, "batch": batch}
    candidates = (
        runner.Candidate("zoo", _SOURCE, "queue", {**given, "compiled": False}),
        runner.Candidate("zoo, jit_compile", _SOURCE, "queue", {**given, "compiled": True}),
        runner.Candidate("MoCo's code, torch", "torch_losses.py", "queue", given, place="torch"),
        runner.Candidate("lightly", "torch_losses.py", "lightly_queue", given, place="torch"),
    )
    zoo, compiled, *peers = (candidate.name for candidate in candidates)
    return runner.Group(
        work=f"{batch} queries against a queue of {size:,}, forward and backward, and entering",
        candidates=candidates,
        pairs=(
            *(runner.Pair(zoo, peer, by) for peer in peers for by in ("time", "memory")),
            runner.Pair(compiled, zoo),
        ),
        agree=1e-4,
        count=batch,
        repeat=1 if rounds == 1 else 5,
        flop=2 * 2.0 * batch * size * WIDTH,
        rounds=rounds,
    )


def groups(quick):
    """Returns the groups to measure; with `quick`, of a size for tests."""
    if quick:
        return [_nt_xent(64, 3.0, None, 1), _queue(512, 16, 1)]
    return [_nt_xent(4096, 3.0, None, None), _queue(65536, 256, None)]


def large(quick):
    """A batch whose matrix of similarities takes gigabytes; `quick` is of a size for tests."""
    return [_nt_xent(128 if quick else 16384, None, 10.0, 2, few=True)]
