"""Features of images: the exported model and the extractor, against calling the model, torch and onnxruntime.

All networks have the same weights. Images are floats in [0, 1], `[B, H, W, 3]`; features come back to the host.
"""

import pathlib
import tempfile

from zoo.tools.benches import runner, training
from zoo.tools.benches.peers import inputs

_SOURCE = "zoo.tools.benches.serving"
_LICENSE = {"code": "Apache-2.0", "weights": "random", "data": "none"}
_CARD = {"name": "bench", "description": "Random weights.", "training": {}, "license": _LICENSE, "citation": ""}


def checked(features):
    """Returns the first features, the mean and the norm of a network's output `[B, F]`."""
    import numpy as np

    return [*features[0, :4], features.mean(), np.linalg.norm(features) / len(features)]


def _images(batch, size):
    return inputs.images(batch, size).astype("float32") / 255


def _exported(encoder, size):
    """Returns a model folder, and an object that deletes the folder when it is released."""
    from zoo.serving import export
    from zoo.tools.benches import weights

    place = tempfile.TemporaryDirectory(prefix="zoo-bench.")
    folder = pathlib.Path(place.name) / "model"
    card = {**_CARD, "training": {"data": "none", "split": "none", "epochs": 0, "command": ""}}
    export.export(weights.resnet(encoder, size), folder, card, warmup=False)
    return folder, place


def saved_model(encoder, size, batch):
    """Returns a run of the SavedModel's signature, and its check."""
    import tensorflow as tf

    folder, place = _exported(encoder, size)
    model, images = tf.saved_model.load(str(folder)), tf.constant(_images(batch, size))
    signature = model.signatures["serving_default"]
    return lambda kept=(place, model): signature(images=images)["embedding"].numpy(), checked


def extractor(encoder, size, batch):
    """Returns a run of `zoo.features.Extractor`, which evaluation uses, and its check."""
    from zoo import features
    from zoo.tools.benches import weights

    extract, images = features.Extractor(weights.resnet(encoder, size), batch), _images(batch, size)
    return lambda: extract(images), checked


def called(encoder, size, batch):
    """Returns a run that calls the Keras model, and its check."""
    import tensorflow as tf

    from zoo.tools.benches import weights

    model, images = weights.resnet(encoder, size), tf.constant(_images(batch, size))
    return lambda: model(images, training=False).numpy(), checked


def predict(encoder, size, batch):
    """Returns a run of the Keras model's `predict`, and its check."""
    from zoo.tools.benches import weights

    model, images = weights.resnet(encoder, size), _images(batch, size)
    return lambda: model.predict(images, batch_size=batch, verbose=0), checked


def served(encoder, size, batch):
    """Returns a run of `zoo-serve` over gRPC, with client and server on this machine, and its check."""
    import atexit

    from zoo.serving import client, deployment
    from zoo.tools import load_test

    folder, place = _exported(encoder, size)
    served_from = pathlib.Path(place.name) / "served"
    deployment.copy(folder, served_from, _CARD["name"], 1)
    deployment.configure(served_from)
    server = load_test.Server(served_from)
    atexit.register(server.end)
    connected, images = client.Client(server.addresses["gRPC"], _CARD["name"], batch_size=batch), _images(batch, size)
    return lambda kept=place: connected(images), checked


def _candidates(given, *names):
    """Returns the candidates with the given names."""
    known = {
        "zoo, SavedModel": (_SOURCE, "saved_model", None),
        "zoo, Extractor": (_SOURCE, "extractor", None),
        "zoo-serve, gRPC": (_SOURCE, "served", None),
        "the Keras model, called": (_SOURCE, "called", None),
        "the Keras model, predict": (_SOURCE, "predict", None),
        "torch, channels_last": ("torch_serving.py", "eager", "torch"),
        "torch jit, optimize_for_inference": ("torch_serving.py", "jit", "torch"),
        "onnxruntime": ("onnx_serving.py", "session", "onnxruntime"),
    }
    return tuple(runner.Candidate(name, *known[name][:2], given, known[name][2]) for name in names)


def _group(encoder, size, batch, ours, targets, repeat=1, rounds=None):
    """Returns a group; `targets` maps a peer to the minimum ratio."""
    given = {"encoder": encoder, "size": size, "batch": batch}
    return runner.Group(
        work=f"features of {encoder.replace('resnet', 'ResNet-')} at {size}², batch {batch}",
        candidates=_candidates(given, ours, *targets),
        pairs=tuple(runner.Pair(ours, peer, target=target) for peer, target in targets.items()),
        agree=2e-3,
        count=batch,
        repeat=repeat,
        flop=training.flop(encoder, size, batch),
        rounds=rounds,
        onednn=ours == "zoo, Extractor",  # zoo-evaluate's
    )


def groups(quick):
    """Returns the groups to measure; `quick` chooses sizes for tests."""
    level = {"torch jit, optimize_for_inference": runner.LEVEL, "onnxruntime": runner.LEVEL}
    if quick:
        return [_group("resnet18", 16, 2, "zoo, SavedModel", {"the Keras model, called": None, **level}, rounds=1)]
    direct = {"the Keras model, called": None}
    return [
        _group("resnet18", 32, 1, "zoo, SavedModel", {**direct, **level}, 10),
        _group("resnet18", 32, 32, "zoo, SavedModel", {**direct, **level}, 3),
        _group("resnet50", 224, 1, "zoo, SavedModel", {**direct, **level}, 3),
        _group("resnet50", 224, 32, "zoo, SavedModel", {**direct, **level}, rounds=5),
        _group("resnet18", 32, 256, "zoo, Extractor", {**direct, "the Keras model, predict": None,
               "torch, channels_last": None, "torch jit, optimize_for_inference": runner.LEVEL}, rounds=5),
        # The server may take a fifth more than the model's own time.
        _group("resnet18", 32, 32, "zoo-serve, gRPC", {"zoo, SavedModel": round(1 / 1.2, 3)}, 5),
    ]  # fmt: skip
