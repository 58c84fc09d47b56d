"""One call that judges a model: every protocol, on raw pixels, an untrained and the trained encoder alike."""

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from zoo import checks
from zoo import features as frozen
from zoo.data import sources
from zoo.models import architecture
from zoo.transfer import intervals, protocols, results, splits

_logger = logging.getLogger(__name__)

Task = tuple[str, str | int]  # name of a protocol, labels per class or "all"
Draws = list[list[protocols.Measurement]]  # what a protocol returned for every draw


def judge(
    model: Any,
    data: str | tuple[Any, Any] | list[Any],
    protocols: Sequence[str] = ("knn", "linear"),
    train_split: str = "train",
    test_split: str = "test",
    labels: Sequence[str | int] = ("all", 10),
    draws: int = 10,
    seed: int = 0,
    data_dir: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    batch_size: int = 256,
    image: str | None = None,
) -> list[results.Row]:
    """Judges a model beside raw pixels and its own architecture with fresh weights.

    Every setting is chosen on training labels; the test examples are used once per number that is reported. With all
    labels, the interval of one model is over test examples, Wilson's for accuracies. With few labels it is Student's
    over the draws, which share their test examples. For several models it is Student's over the models.

    Args:
        model: what `zoo.features.Extractor` takes, or a list of several models that were trained alike with different
            seeds.
        data: name of the data as in `zoo.data.sources.load`, or a pair of sources `(train, test)`.
        protocols: names of protocols, or import paths of your own; see `zoo.transfer.protocols.find`.
        train_split: the split whose labels the protocols use.
        test_split: the split that is measured on.
        labels: "all", or a number of labels per class.
        draws: number of random draws of the few labels.
        seed: of the draws, the held-out labels and the untrained weights, an integer >= 0. Sets Keras' global seed.
        data_dir: folder of TFDS' data.
        size: height and width that images are resized to.
        channels: 1 or 3, the number of channels that images are converted to.
        batch_size: number of images that pass through the encoder at once.
        image: the feature of the data set that is the image, such as "depth"; see `zoo.data.sources.load`.

    Returns:
        One row per protocol, labels, metric and kind of features.

    Raises:
        ValueError: an unknown protocol, data without labels, or images of another shape than the model's.
    """
    models = list(model) if isinstance(model, list | tuple) else [model]
    _check(models, labels, draws)
    found = _found(protocols)
    if isinstance(data, str):
        train, test = (_load(data, split, size, channels, data_dir, image) for split in (train_split, test_split))
    else:
        train, test = data
    _check_labels(train, test)
    tasks = [(name, count) for count in labels for name in protocols]
    judged: dict[str, list[dict[Task, Draws] | str]] = {
        kind: [_judged(network, kind, train, test, found, tasks, draws, seed, batch_size) for network in networks]
        for kind, networks in _networks(models, seed).items()
    }
    return [row for task in tasks for row in _rows(train.name, task, judged, test.size, seed)]


def _check(models: list, labels: Sequence[str | int], draws: int) -> None:
    checks.require(models, "judge", "at least one model", model=models)
    for count in labels:
        is_valid = count == "all" or checks.is_integer(count)
        checks.require(is_valid, "judge", "'all' or a number of labels per class", labels=count)
    checks.integers("judge", draws=draws)


def _check_labels(*data: Any) -> None:
    for source in data:
        if source.labels is None:
            raise ValueError(
                f"judge: expected data with labels. Received: {source.name} {source.split}, which has none."
            )
        splits.check("judge", source.labels, source.size)


def _found(names: Sequence[str]) -> dict[str, protocols.Protocol]:
    return {name: protocols.find(name) for name in names}


def _load(name, split, size, channels, data_dir, image) -> Any:
    modalities = None if image is None else (image,)
    return sources.load(name, split, size=size, channels=channels, data_dir=data_dir, modalities=modalities)


def untrained(model: Any, seed: int) -> Any:
    """Returns the architecture of a model with fresh weights, a Keras model; or a string, the reason why it cannot.

    Args:
        model: see `zoo.features.Extractor`.
        seed: of the weights; sets Keras' global seed.
    """
    network = frozen.encoder(model) if hasattr(model, "encoders") else model
    if isinstance(network, str | os.PathLike) or not isinstance(network, keras.Model):
        return "a SavedModel does not say how its architecture is built"
    keras.utils.set_random_seed(seed)
    if hasattr(network, "architecture"):
        return architecture.build(network.architecture)
    try:
        return keras.models.clone_model(network)
    except (ValueError, TypeError, NotImplementedError) as error:
        return f"the architecture cannot be built again: {error}"


def _networks(models: list, seed: int) -> dict[str, list]:
    # Raw pixels are the same beside every model, so they are judged once.
    fresh = [untrained(model, seed + index) for index, model in enumerate(models)]
    return {"pixels": [frozen.PIXELS], "untrained": fresh, "trained": models}


def _judged(network, kind, train, test, found, tasks, draws, seed, batch_size) -> dict[Task, Draws] | str:
    """Returns the measurements of one network, or the reason why it could not be judged."""
    if kind == "untrained" and isinstance(network, str):
        return network
    cache = frozen.Cache(batch_size)  # one per network, so that its features are freed with it
    measured: dict[Task, Draws] = {}
    for name, count in tasks:
        began = time.monotonic()
        measured[name, count] = []
        for draw in range(1 if count == "all" else draws):
            part = train
            if count != "all":
                part = cache.subset(train, splits.per_class(train.labels, count, seed, draw))
            measured[name, count].append(found[name](network, part, test, seed=seed, features=cache))
        _log(kind, name, count, measured[name, count], time.monotonic() - began)
    return measured


def _log(kind, name, count, measured, seconds):
    for metric in dict.fromkeys(found.metric for draw in measured for found in draw):
        values = [found.value for draw in measured for found in draw if found.metric == metric]
        mean = "n/a" if None in values else f"{np.mean(values):.4f}"
        _logger.info("%s: %s, %s: %s %s, in %.1f s.", kind, name, named(count), metric, mean, seconds)


def named(count: str | int) -> str:
    """Returns what a number of labels is called: "all", or as in "10 per class"."""
    return "all" if count == "all" else f"{count} per class"


def _rows(data, task: Task, judged: dict[str, list[dict[Task, Draws] | str]], n_test: int, seed: int):
    """Yields the rows of a task: its metrics, and for each the kinds of features."""
    metrics = dict.fromkeys(
        measurement.metric
        for networks in judged.values()
        for network in networks
        if not isinstance(network, str)
        for draw in network[task]
        for measurement in draw
    )
    for metric in metrics:
        for kind, networks in judged.items():
            common = dict(data=data, protocol=task[0], labels=named(task[1]), features=kind, metric=metric, seed=seed)
            reasons = [network for network in networks if isinstance(network, str)]
            draws = [_only(network[task], metric) for network in networks if not isinstance(network, str)]
            reasons += [found.details["reason"] for draw in draws for found in draw if found.value is None]
            if reasons:
                details = {"reason": reasons[0]}
                yield results.Row(
                    **common, value=None, interval=None, n_test=n_test, n_seeds=len(networks), details=details
                )
            else:
                yield _row(common, draws)


def _only(draws: Draws, metric: str) -> list[protocols.Measurement]:
    """Returns the measurement of a metric in every draw."""
    missing = protocols.Measurement(metric, None, None, 0, {"reason": "the protocol did not return this metric"})
    return [next((found for found in draw if found.metric == metric), missing) for draw in draws]


def _row(common: dict[str, Any], models: list[list[protocols.Measurement]]) -> results.Row:
    """Returns the row of a metric that was measured for every model and draw."""
    single = models[0][0]
    values: list[list[Any]] = [[found.value for found in draws] for draws in models]  # [models][draws]
    means = [float(np.mean(draws)) for draws in values]
    limits = (0.0, 1.0) if results.is_accuracy(single.metric) else ()
    interval: tuple[float, float] | None
    if len(models) > 1:
        over, interval = "models", intervals.student(means, *limits)
    elif common["labels"] != named("all"):
        over, interval = "draws", intervals.student(values[0], *limits)
    else:
        over, interval = "test images", single.interval
    details: dict[str, Any] = {"interval_over": over, "values": values, "draws": len(values[0])}
    # Each setting once if all fits agree on it, else one per fit.
    for name in single.details:
        chosen = [found.details.get(name) for draws in models for found in draws]
        details[name] = chosen[0] if all(value == chosen[0] for value in chosen) else chosen
    value = float(np.mean(means))
    return results.Row(**common, value=value, interval=interval, n_test=single.n, n_seeds=len(models), details=details)
