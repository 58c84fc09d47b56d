"""What memories cost per step: the queue and the bank, entered in place, against copying them, and against torch.

A step compares eight queries with the candidates, then enters a batch: `bare` leaves the latter out, `in_place` is how
methods do it, `copied` writes the whole store anew, as `keras.ops` alone would. `entered` is the entering alone.
The extra memory is the peak beyond what the process held before the first step: a step that copies the store needs at
least the store's own size.
"""

from zoo.tools.benches import runner
from zoo.tools.benches.peers import inputs

_SOURCE = "zoo.tools.benches.memories"
WIDTH = 128
# Kind, rows: MoCo's queue on ImageNet and a sixteenth of it; a bank of the queue's size and one of ImageNet.
STORES = (("queue", 4096), ("queue", 65536), ("bank", 65536), ("bank", 1281167))


def step_of(kind, rows, batch, how):
    """The step of a fresh store, a compiled function of ids and embeddings of a batch; and the store."""
    import numpy as np
    import tensorflow as tf
    from keras import ops

    from zoo import engine
    from zoo.methods import memory

    if kind == "queue":
        store = memory.MomentumQueue(rows, WIDTH)

        def compared(ids, queries):
            return ops.sum(ops.matmul(queries, ops.transpose(store.negatives(ids[:8])[0])))

        def copied(ids, values):
            index = (engine.current().value(store.pointer) + ops.arange(batch))[:, None]
            store.keys.assign(ops.scatter_update(store.keys, index, values))
            store.ids.assign(ops.scatter_update(store.ids, index, ids))
            store.pointer.assign((engine.current().value(store.pointer) + batch) % rows)

        def in_place(ids, values):
            store.push(values, ids)
    else:
        store = memory.MemoryBank(np.arange(rows), WIDTH)

        def compared(ids, queries):
            return ops.sum(ops.matmul(queries, ops.transpose(store.sample(ids, 4096, per_image=False)[0])))

        def copied(ids, values):
            moved = store.momentum * ops.take(store.rows, ids, axis=0) + (1 - store.momentum) * values
            store.rows.assign(ops.scatter_update(store.rows, ids[:, None], ops.normalize(moved, axis=-1)))
            store.draws.assign(store.draws + 1)

        in_place = store.update
    nothing = tf.constant(0.0)
    look = (lambda ids, queries: nothing) if how == "entered" else compared
    enter = {"in_place": in_place, "entered": in_place, "copied": copied, "bare": lambda ids, values: None}[how]

    @tf.function(autograph=False)
    def step(ids, values):
        total = look(ids, values[:8])
        with tf.control_dependencies([total]):
            enter(ids, values)
        return total

    return step, store


def ours(kind, rows, batch, how):
    """A step with each call's own batch of images."""
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(0)
    values = tf.constant(inputs.unit(batch, WIDTH))
    small, _ = step_of(kind, batch, batch, how)
    for _ in range(2):  # whatever is loaded once is loaded here
        float(small(tf.range(batch), values))
    step, store = step_of(kind, rows, batch, how)
    step.get_concrete_function(tf.range(batch), values)
    batches = [tf.constant(random.choice(rows, batch, replace=False).astype("int32")) for _ in range(64)]
    turn = iter(range(2**62))

    def run():
        float(step(batches[next(turn) % len(batches)], values))

    return run, None


def _ours(kind, rows, batch, how, name):
    return runner.Candidate(name, _SOURCE, "ours", {"kind": kind, "rows": rows, "batch": batch, "how": how})


def _torch(kind, rows, batch):
    settings = {"rows": rows, "batch": batch}
    return runner.Candidate("torch, index_copy_", "torch_memories.py", kind, settings, place="torch")


def _whole(kind, rows, batch, repeat):
    bare, inside, copied = (
        _ours(kind, rows, batch, how, name)
        for how, name in (("bare", "zoo, entering nothing"), ("in_place", "zoo, in place"), ("copied", "copied whole"))
    )
    pairs = [runner.Pair(inside.name, copied.name, by) for by in ("time", "memory")]
    return runner.Group(
        work=f"{batch} rows enter a {kind} of {rows:,}, 8 queries are compared",
        candidates=(inside, bare, copied),
        pairs=(*pairs, runner.Pair(inside.name, bare.name)),
        count=batch,
        repeat=repeat,
    )


def _entered(queue, bank, batch, repeat, rounds):
    """The entering alone: does its cost depend on the rows that there are?"""
    names = {f"queue of {queue:,}": ("queue", queue), f"bank of {bank:,}": ("bank", bank)}
    candidates = [_ours(*store, batch, "entered", f"zoo, {name}") for name, store in names.items()]
    small = _ours("bank", queue, batch, "entered", f"zoo, bank of {queue:,}")
    small_torch, large_torch = (_torch(kind, rows, batch) for kind, rows in (("queue", queue), ("bank", bank)))
    small_torch, large_torch = (
        runner.Candidate(f"{each.name}, {name}", each.source, each.function, each.settings, each.place)
        for each, name in ((small_torch, f"queue of {queue:,}"), (large_torch, f"bank of {bank:,}"))
    )
    first, last = (candidate.name for candidate in candidates)
    return runner.Group(
        work=f"{batch} rows enter",
        candidates=(*candidates, small, small_torch, large_torch),
        pairs=(
            runner.Pair(last, first, target=runner.LEVEL),
            runner.Pair(last, small.name, target=runner.LEVEL),
            runner.Pair(first, small_torch.name),
            runner.Pair(last, large_torch.name),
        ),
        count=batch,
        repeat=repeat,
        moved=2 * batch * WIDTH * 4,
        rounds=rounds,
    )


def groups(quick):
    """Returns the groups to measure; with `quick`, of a size for tests."""
    if quick:
        return [_whole("queue", 512, 16, 2), _entered(512, 2048, 16, 2, 1)]
    return [*(_whole(*store, 256, 10 if store[1] < 10**6 else 3) for store in STORES),
            _entered(4096, 1281167, 256, 200, 9)]  # fmt: skip
