"""Cold starts: a fresh interpreter imports, loads an encoder, or trains one step; files are in the system's cache."""

import sys

from zoo.tools.benches import runner

_SOURCE = "zoo.tools.benches.start"
_HERE = "fresh_process.py"
MODEL = "simclr_convnet_fashion_mnist.e15"


def fresh(code):
    """Runs Python code in a fresh interpreter of this environment."""
    import subprocess

    return lambda: subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL), None


def first_step():
    """Trains one step of a small MoCo v2 run, through `zoo-train`'s own road: gin, the loop, its records."""
    import os
    import tempfile

    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    import gin
    import keras
    import numpy as np

    from zoo.data import sources
    from zoo.tools import config
    from zoo.train import loop

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            os._exit(0)

    # Noise in place of Fashion-MNIST, which need not be there; as many images, so that the run is as long.
    images = np.random.default_rng(0).integers(0, 256, (10_000, 28, 28, 1), dtype=np.uint8)
    data = sources.from_arrays({"image": images})
    config.parse(["runs/moco_v2_fashion_mnist.gin"], ["loop.run.precision = 'float32'", "loop.run.data = None"])
    run = gin.get_configurable(loop.run)
    rhythm = loop.Rhythm(steps_per_call=1)
    run(data=data, workdir=tempfile.mkdtemp(), config=gin.config_str(), callbacks=[Stop], rhythm=rhythm)


def _ours(name, code):
    return runner.Candidate(name, _SOURCE, "fresh", {"code": code})


def _torch(name, code):
    return runner.Candidate(name, _HERE, "fresh", {"code": f"import torchvision_beside_cpu; {code}"}, place="torch")


def groups(quick):
    """Returns the groups to measure; `quick` leaves out the long one."""
    ours = _ours("import zoo", "import zoo")
    peers = (_ours("import keras", "import keras"), _torch("import torchvision", "import torchvision"),
             _torch("import lightly", "import lightly.loss"))  # fmt: skip
    first = runner.Group(
        work="a fresh interpreter imports",
        candidates=(ours, *peers),
        pairs=tuple(runner.Pair(ours.name, peer.name) for peer in peers),
    )
    if quick:
        return [runner.Group(first.work, (ours,), (runner.Pair(ours.name, ours.name),), rounds=1)]
    loaded = _ours("zoo.load", f"import zoo; zoo.load({MODEL!r})")
    found = f"from zoo.hub import cards; folder = str(cards.find({MODEL!r}))"
    saved = _ours("tf.saved_model.load", f"{found}; import tensorflow as tf; tf.saved_model.load(folder)")
    built = _torch("torchvision.models.resnet18", "import torchvision; torchvision.models.resnet18()")
    second = runner.Group(
        work="a fresh interpreter has an encoder",
        candidates=(loaded, saved, built),
        pairs=(runner.Pair(loaded.name, saved.name), runner.Pair(loaded.name, built.name)),
    )
    stepped = _ours("zoo-train", "from zoo.tools.benches import start; start.first_step()")
    peer = _torch("torch, lightly, torchvision", "import torch_start; torch_start.main()")
    third = runner.Group(
        work="from the command to the end of the first step of a small MoCo v2 run",
        candidates=(stepped, peer),
        pairs=(runner.Pair(stepped.name, peer.name, target=1 / 1.5),),
    )
    return [first, second, third]
