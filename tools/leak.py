"""Measures whether batch norm tells a query which key is of its own batch: MoCo's leak.

zoo-leak --workdir=runs/moco/seed0 --workdir=runs/moco/seed1 --split='train[10000:14096]' --out=leak.json

Images that were not trained on are encoded twice: with the statistics of their batches, as in training, and with moving
averages, under which no image knows of another. Each query then looks for its own key among those of all *other*
batches. What it finds more often with the statistics of batches, it finds by the batch (He et al., 2019,
https://arxiv.org/abs/1911.05722, Section 3.3).
"""

import json
import pathlib

from absl import flags

from zoo.tools import config

FLAGS = flags.FLAGS


def define_flags():
    """Defines this program's flags."""
    flags.DEFINE_multi_string("workdir", None, "Folder of a training run with a queue; may be repeated.", required=True)
    flags.DEFINE_string("split", None, "Split of images that were not trained on.", required=True)
    flags.DEFINE_integer("seed", 0, "Of the views, an integer.", lower_bound=0)
    flags.DEFINE_string("out", None, "JSON file to write.", required=True)


def found(queries, keys):
    """How often a query's own key comes before all keys of other batches.

    Args:
        queries: unit vectors by batch, `[M, B, D]`.
        keys: likewise.

    Returns:
        Share of the queries.
    """
    import numpy as np

    own = np.sum(queries * keys, axis=-1)  # [M, B]
    scores = np.einsum("mbd,nkd->mbnk", queries, keys)  # [M, B, M, B]
    batches = np.arange(len(queries))
    scores[batches, :, batches] = -np.inf
    return float(np.mean(own > scores.max(axis=(2, 3))))


def measure(workdir):
    """Accuracy with the statistics of batches, and with moving averages."""
    import keras
    import numpy as np

    from zoo import replicas, seeds
    from zoo.data import sources
    from zoo.methods import dictionaries

    method, run = config.restore(workdir)
    if not isinstance(getattr(method, "dictionary", None), dictionaries.Momentum):
        raise ValueError(f"--workdir: expected a run with a momentum encoder and a queue. Received: {workdir}.")
    views = config.binding("views")
    data, size = sources.load(run["data"], FLAGS.split), run["batch_size"]
    encoded = {"moving": [], "batch": []}
    for mode, parts in encoded.items():  # moving averages first, for the other mode moves them
        for start in range(0, data.size - size + 1, size):
            rows = np.arange(start, start + size)
            images, ids = data.fetch(rows).astype("float32") / 255, data.ids[rows].astype("int32")
            query, key, *_ = views(images, seeds.Seed(FLAGS.seed).fold(ids))
            if mode == "moving":
                pair = method.towers[0](query), method.dictionary.key_towers[0](key)
            else:
                seen = method.contrast((query, key), {"id": keras.ops.convert_to_tensor(ids)}, replicas.Alone())[2]
                (keys, _), queries, *_ = seen
                pair = queries[0], keys[0]
            parts.append([keras.ops.convert_to_numpy(z) for z in pair])
    return {mode: found(*(np.stack(side) for side in zip(*parts, strict=True))) for mode, parts in encoded.items()}


def main(argv):
    """Measures every run."""
    del argv
    from zoo.hub import files

    rows = [{"workdir": workdir, **measure(workdir)} for workdir in FLAGS.workdir]
    place = pathlib.Path(FLAGS.out).expanduser()
    place.parent.mkdir(parents=True, exist_ok=True)
    files.write(place, json.dumps({"command": config.command("zoo-leak", FLAGS, "out"), "rows": rows}, indent=1) + "\n")
    for row in rows:
        print("{workdir}: {batch:.4f} with statistics of batches, {moving:.4f} with moving averages".format(**row))
    return 0


def cli():
    """The program `zoo-leak`."""
    define_flags()
    config.launch(main)


if __name__ == "__main__":
    cli()
