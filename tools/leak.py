"""Measures MoCo's leak: whether batch norm reveals to a query which key comes from its own batch.

python -m zoo.tools.leak --workdir=runs/moco/seed0 --workdir=runs/moco/seed1 --split='train[10000:26384]' --out=l.json

Each query looks for its own key among a queue of keys of *other* batches, twice. The first time its key is encoded
together with the keys of the query's batch, as in training; the second time apart from them, in a group of equally many
keys, no two of which have queries in the same group of batch norm. Everything else is equal, including the noise of the
batch statistics. Keys that are found more often the first time are found through the batch (He et al., 2019,
https://arxiv.org/abs/1911.05722, Section 3.3).
"""

import json
import pathlib

from absl import flags

from zoo.tools import config

FLAGS = flags.FLAGS


def define_flags():
    """Defines this program's flags."""
    flags.DEFINE_multi_string("workdir", None, "Folder of a training run of MoCo; may be repeated.", required=True)
    flags.DEFINE_string(
        "split",
        None,
        "Split of images not trained on; plain batch norm needs N * N of them for batches of N.",
        required=True,
    )
    flags.DEFINE_integer("seed", 0, "Seed of the views.", lower_bound=0)
    flags.DEFINE_string("out", None, "JSON file to write.", required=True)


def found(queries, own, keys, rivals):
    """Returns the share of queries whose own key comes before all keys of other batches.

    Args:
        queries: unit vectors by batch, `[M, B, D]`.
        own: the key of each query, `[M, B, D]`.
        keys: the keys that other queries meet, `[M, B, D]`.
        rivals: number of the next batches that a query meets; all others if there are fewer.
    """
    import numpy as np

    hits = []
    for number, batch in enumerate(queries):
        others = (number + 1 + np.arange(min(rivals, len(keys) - 1))) % len(keys)
        scores = batch @ keys[others].reshape(-1, keys.shape[-1]).T  # [B, others * B]
        hits.append(np.sum(batch * own[number], axis=1) > scores.max(axis=1))
    return float(np.mean(hits))


def measure(method, views, data, size, seed=0):
    """Returns how often queries find keys that were encoded with those of their batch, and apart from them.

    Args:
        method: a `moco.MoCo` after its `begin`. The moving averages of batch norm change.
        views: `(images, seed) -> (queries, keys)`, a `zoo.views.view.Views`.
        data: a `zoo.data.sources.Source` of images that were not trained on.
        size: size of the batches, N.
        seed: seed of the views, an integer.

    Returns:
        Dictionary of two shares, `together` and `apart`.

    Raises:
        ValueError: the method is another one, or there are too few images.
    """
    import numpy as np
    from keras import ops

    from zoo import context, replicas, seeds
    from zoo.methods import moco

    # InfoMin is a MoCo, too, but has a second kind of query.
    if type(method) is not moco.MoCo:
        raise ValueError(f"--workdir: expected a run of MoCo. Received: {method.title}.")
    bn_groups = method.bn_groups
    group = size // bn_groups  # images of one group of batch norm
    fewest = -(-group // bn_groups) * size
    if data.size < fewest:
        raise ValueError(
            f"--split: expected {fewest} images or more, so that {group} keys of one group can have queries in as many "
            f"groups. Received: {data.size}."
        )
    count = data.size // size * size
    # Group by group, an image from each group of queries in turn.
    order = np.arange(count).reshape(-1, group).T.reshape(-1)

    queries, together, key_views = [], [], []
    for start in range(0, count, size):
        rows = np.arange(start, start + size)
        images, ids = data.fetch(rows).astype("float32") / 255, data.ids[rows].astype("int32")
        query_view, key_view = views(images, seeds.Seed(seed).fold(ids))
        with context.using(bn_groups=bn_groups):
            queries.append(ops.convert_to_numpy(method.query_encoder(query_view, training=True)))
        keys, _ = method.key_encoder.encode(key_view, replicas.Alone())
        together.append(ops.convert_to_numpy(keys))
        key_views.append(ops.convert_to_numpy(key_view))
    key_views, apart = np.concatenate(key_views), []
    for start in range(0, count, size):
        with context.using(bn_groups=bn_groups):
            keys = method.key_encoder.network(key_views[order[start : start + size]], training=True)
        apart.append(ops.convert_to_numpy(keys))
    apart = np.concatenate(apart)[np.argsort(order)].reshape(count // size, size, -1)
    queries, together, rivals = np.stack(queries), np.stack(together), method.queue.size // size
    return {name: found(queries, own, together, rivals) for name, own in (("together", together), ("apart", apart))}


def main(argv):
    """Measures every run."""
    del argv
    from zoo import files
    from zoo.data import sources

    rows = []
    for workdir in FLAGS.workdir:
        method, run = config.restore(workdir)
        data = sources.load(run["data"], FLAGS.split)
        shares = measure(method, config.binding("views"), data, run["batch_size"], FLAGS.seed)
        rows.append({"workdir": workdir, **shares})
        print("{workdir}: {together:.4f} with the keys of the batch, {apart:.4f} apart from them".format(**rows[-1]))
    place = pathlib.Path(FLAGS.out).expanduser()
    place.parent.mkdir(parents=True, exist_ok=True)
    record = {"command": config.command("python -m zoo.tools.leak", FLAGS, "out"), "rows": rows}
    files.write(place, json.dumps(record, indent=1) + "\n")
    return 0


def cli():
    """Runs the program."""
    define_flags()
    config.launch(main)


if __name__ == "__main__":
    cli()
