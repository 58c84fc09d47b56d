"""One call that judges frozen features: every protocol, on raw pixels, an untrained and the trained encoder alike."""

import difflib
import os
import time

import keras
import numpy as np
from absl import logging

from zoo.data import sources
from zoo.models import architecture
from zoo.transfer import features as frozen
from zoo.transfer import intervals, knn, linear, results, splits

# The paper's number of neighbours, and the least training images to which it fits.
K, K_FROM = 200, 10_000


def _knn(train, test, few, seed):
    """The paper's number of neighbours; where images or labels are few, one chosen on the training labels."""
    del seed
    k = None if few or len(train[0]) < K_FROM else K
    return knn.knn_accuracy(*train, *test, k=k)


def _linear(train, test, few, seed):
    """All labels: a tenth is held out to choose the penalty; few labels: cross-validation, as each of them counts."""
    held_out = splits.folds(train[1], seed) if few else splits.hold_out(train[1], seed)
    return linear.linear_accuracy(*train, *test, held_out=held_out)


PROTOCOLS = {"knn": _knn, "linear": _linear}


def judge(
    model,
    data,
    protocols=("knn", "linear"),
    train_split="train",
    test_split="test",
    labels=("all", 10),
    draws=10,
    seed=0,
    data_dir=None,
    size=None,
    channels=None,
    batch_size=256,
    modalities=None,
):
    """Judges the frozen features of a model, beside those of the same architecture with fresh weights and raw pixels.

    The test images are used once per number that is reported; every setting is chosen on training labels. The interval
    of one model with all labels is Wilson's over test images; with few labels it is Student's over the draws, which all
    share their test images; of several models it is Student's over the models.

    Args:
        model: what `features.Extractor` takes, or a list of several, trained alike with different seeds.
        data: name of the data as in `zoo.data.sources.load`, or a pair of sources `(train, test)`.
        protocols: among "knn" and "linear".
        train_split: whose labels the protocols use.
        test_split: on which the accuracy is measured.
        labels: "all", or a number of labels per class.
        draws: of the few labels.
        seed: of the draws, the held-out labels and the untrained weights, an integer >= 0. Sets Keras' global seed.
        data_dir: of TFDS.
        size: images are resized to this height and width.
        channels: 1 or 3; images are converted.
        batch_size: images that pass the encoder at once.
        modalities: of data with several, names of those that the encoder takes; see `zoo.data.sources.load`.

    Returns:
        List of `results.Row`.

    Raises:
        ValueError: unknown protocol, no labels, or images of another shape than the model's.
    """
    models = list(model) if isinstance(model, list | tuple) else [model]
    _check(models, protocols, labels, draws)
    if isinstance(data, str):
        image = modalities[0] if modalities else None
        data = [
            sources.load(data, split, size=size, channels=channels, data_dir=data_dir, image=image)
            for split in (train_split, test_split)
        ]
    train, test = data
    for source in data:
        if source.labels is None:
            raise ValueError(
                f"judge: expected data with labels. Received: {source.name} {source.split}, which has none."
            )
    truth = [splits.check("judge", source.labels, source.size) for source in data]
    tasks = [(protocol, count) for count in labels for protocol in protocols]
    found = {}  # kind of features -> one of {task: (values, details)}, or a reason, per model
    for kind, networks in _networks(models, seed).items():
        found[kind] = [_judged(network, kind, data, truth, tasks, draws, seed, batch_size) for network in networks]
    return [_row(train.name, task, kind, judged, test.size, seed) for task in tasks for kind, judged in found.items()]


def _check(models, protocols, labels, draws):
    if not models:
        raise ValueError("judge: expected at least one model. Received: none.")
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            close = difflib.get_close_matches(str(protocol), PROTOCOLS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"judge: expected protocols among {', '.join(PROTOCOLS)}. Received: protocols={protocol!r}.{hint}"
            )
    for count in labels:
        is_count = isinstance(count, int) and not isinstance(count, bool)
        if count != "all" and not (is_count and count >= 1):
            raise ValueError(f"judge: expected 'all' or a number of labels per class. Received: labels={count!r}.")
        if count == 1 and "linear" in protocols:
            raise ValueError(
                "judge: expected at least 2 labels per class for the linear protocol, which chooses its penalty by "
                "cross-validation. Received: labels=1."
            )
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise ValueError(f"judge: expected an integer >= 1. Received: draws={draws!r}.")


def untrained(model, seed):
    """The architecture of a model with fresh weights.

    Args:
        model: see `features.Extractor`.
        seed: of the weights; sets Keras' global seed.

    Returns:
        A Keras model; or a string, the reason why there is none.
    """
    if isinstance(model, str | os.PathLike) or not (
        isinstance(model, keras.Model) or hasattr(model, "feature_extractor")
    ):
        return "a SavedModel does not say how its architecture is built"
    network = model.feature_extractor() if hasattr(model, "feature_extractor") else model
    keras.utils.set_random_seed(seed)
    if hasattr(network, "architecture"):
        return architecture.build(network.architecture)
    try:
        return keras.models.clone_model(network)
    except (ValueError, TypeError, NotImplementedError) as error:
        return f"the architecture cannot be built again: {error}"


def _networks(models, seed):
    # Raw pixels are the same beside every model, so they are judged once.
    made = [untrained(model, seed + index) for index, model in enumerate(models)]
    return {"pixels": [frozen.PIXELS], "untrained": made, "trained": models}


def _judged(network, kind, data, truth, tasks, draws, seed, batch_size):
    """`{task: (values, details)}` of one network, or the reason why it could not be judged."""
    if kind == "untrained" and isinstance(network, str):
        return network
    began = time.monotonic()
    extractor = frozen.Extractor(network, batch_size)
    train, test = (extractor(source) for source in data)
    seconds = time.monotonic() - began
    logging.info("%s: %d + %d features of width %d in %.1f s", kind, len(train), len(test), train.shape[1], seconds)
    found = {}
    for protocol, count in tasks:
        began = time.monotonic()
        few = count != "all"
        values, details = [], []
        for draw in range(draws if few else 1):
            rows = splits.per_class(truth[0], count, seed, draw) if few else slice(None)
            value, settings = PROTOCOLS[protocol]((train[rows], truth[0][rows]), (test, truth[1]), few, seed)
            values.append(value)
            details.append(settings)
        found[protocol, count] = values, details
        seconds = time.monotonic() - began
        logging.info("%s: %s, %s: %.4f in %.1f s", kind, protocol, named(count), np.mean(values), seconds)
    return found


def named(count):
    """How a number of labels is called: "all", or as in "10 per class"."""
    return "all" if count == "all" else f"{count} per class"


def _row(data, task, kind, judged, n_test, seed):
    protocol, count = task
    common = dict(data=data, protocol=protocol, labels=named(count), features=kind, n_test=n_test, seed=seed)
    reasons = [each for each in judged if isinstance(each, str)]
    if reasons:
        return results.Row(**common, value=None, interval=None, n_seeds=len(judged), details={"reason": reasons[0]})
    per_model = [each[task][0] for each in judged]  # [models][draws]
    settings = [setting for each in judged for setting in each[task][1]]
    means = [float(np.mean(values)) for values in per_model]
    value = float(np.mean(means))
    if len(judged) > 1:
        over, interval = "models", intervals.student(means)
    elif count != "all":
        over, interval = "draws", intervals.student(per_model[0])
    else:
        over, interval = "test images", intervals.wilson(value, n_test)
    details = {"interval_over": over, "values": per_model, "draws": len(per_model[0])}
    # Each setting once where all fits agree on it, else one per fit.
    for name in settings[0]:
        chosen = [setting[name] for setting in settings]
        details[name] = chosen[0] if len(set(chosen)) == 1 else chosen
    return results.Row(**common, value=value, interval=interval, n_seeds=len(judged), details=details)
