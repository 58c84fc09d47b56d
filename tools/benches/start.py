"""Cold starts: a fresh interpreter imports, or imports and loads an encoder; the files are in the system's cache."""

import sys

from zoo.tools.benches import runner

_SOURCE = "zoo.tools.benches.start"
_HERE = "fresh_process.py"
MODEL = "simclr_convnet_fashion_mnist.e15"


def fresh(code):
    """Runs Python code in a fresh interpreter of this environment."""
    import subprocess

    return lambda: subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL), None


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
    return [first, second]
