"""Evaluates a model in one call: every protocol, on raw pixels, the untrained encoder and the trained one."""

import dataclasses
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from zoo import checks
from zoo import features as frozen
from zoo.data import sources, stores
from zoo.data import splits as data_splits
from zoo.hub import cards
from zoo.methods import method as methods
from zoo.models import architecture
from zoo.transfer import intervals, protocols, results, splits

_logger = logging.getLogger(__name__)

Labels = str | int  # "all", or a number per class
Task = tuple[str, Labels]  # name of a protocol, labels it may use
Draws = list[list[protocols.Measurement]]  # what a protocol returned for every draw of the labels
Judged = dict[Task, Draws] | str  # of one network, or the reason why there is none
Column = tuple[str, str]  # kind of features and name of the model


def evaluate(
    model: Any,
    data: str | tuple[Any, Any] | list[Any],
    protocols: Sequence[str] = ("knn", "linear"),
    train_split: str = "train",
    test_split: str = "test",
    labels: Sequence[Labels] = ("all", 10),
    draws: int = 10,
    seed: int = 0,
    data_dir: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    batch_size: int = 256,
    image: str | None = None,
    skip_broken: bool = False,
    white: float | None = None,
    max_pixels: int = stores.PIXELS,
) -> list[results.Row]:
    """Evaluates a model alongside raw pixels and its own architecture with fresh weights.

    Every setting is chosen on training labels; the test examples are used once per number that is reported. With all
    labels, the interval of one model is over test examples, Wilson's for accuracies. With few labels it is Student's
    over the draws, which share their test examples. For several seeds of a model it is Student's over the seeds.

    Args:
        model: what `zoo.features.Extractor` takes; a list of models that were trained alike with different seeds; or
            either by name, to judge several models side by side.
        data: name of the data as in `zoo.data.sources.load`, or a pair of sources `(train, test)`.
        protocols: names of protocols, or import paths of your own; see `zoo.transfer.protocols.find`.
        train_split: the split whose labels the protocols use.
        test_split: the split to measure on.
        labels: "all", or a number of labels per class.
        draws: number of random draws of the few labels.
        seed: seed of the draws, the folds and the untrained weights, an integer >= 0. Sets Keras' global
            seed.
        data_dir: folder of TFDS' data.
        size: height and width that images are resized to; by default what the models take.
        channels: 1 or 3, the number of channels that images are converted to; by default what the models take.
        batch_size: number of images that pass through the encoder at once.
        image: the feature of the data set that is the image, such as "depth"; see `zoo.data.sources.load`.
        skip_broken: whether files of a folder that cannot be read are left out.
        white: sample that becomes white in gray files of more than 8 bits; see `zoo.data.sources.load`.
        max_pixels: number of pixels of an image file above which it is refused.

    Returns:
        One row per protocol, labels, metric, kind of features and model. The details of each name the files that were
        left out, as "skipped".

    Raises:
        ValueError: a protocol is unknown, the data have no labels, or the images do not have the models' shape.
    """
    named = model if isinstance(model, Mapping) else {"": model}
    models = {name: list(found) if isinstance(found, list | tuple) else [found] for name, found in named.items()}
    _check(models, labels, draws)
    functions = _functions(protocols)
    if isinstance(data, str):
        size, channels = _fitting(models, size, channels)
        settings: dict[str, Any] = {"size": size, "channels": channels, "data_dir": data_dir, "image": image}
        settings |= {"skip_broken": skip_broken, "white": white, "max_pixels": max_pixels}
        train, test = (sources.load(data, split, **settings) for split in (train_split, test_split))
        common = int(np.isin(test.ids, train.ids).sum())
        expected = "`test_split` without images of `train_split`"
        checks.require(not common, "evaluate", expected, train_split=train_split, test_split=test_split, common=common)
    else:
        train, test = data
    _check_labels(train, test)
    plan = _Plan(train, test, functions, labels, draws, seed, batch_size)
    judged = {
        column: [plan.judged(column, network) for network in networks]
        for column, networks in _networks(models, seed).items()
    }
    return [row for task in plan.tasks for row in _rows(plan, task, judged)]


def _check(models: dict[str, list[Any]], labels: Sequence[Labels], draws: int) -> None:
    checks.require(models and all(models.values()), "evaluate", "at least one model", model=models)
    for count in labels:
        is_valid = count == "all" or checks.is_integer(count)
        checks.require(is_valid, "evaluate", "'all' or a number of labels per class", labels=count)
    checks.integers("evaluate", draws=draws)


def _functions(names: Sequence[str]) -> dict[str, protocols.Protocol]:
    return {name: protocols.find(name) for name in names}


def _fitting(models: dict[str, list[Any]], size: int | None, channels: int | None) -> tuple[int | None, int | None]:
    """Returns size and channels of the images, taken from the models where they are not given."""
    shapes = {frozen.input_shape(model) for found in models.values() for model in found}
    images = [shape for shape in shapes if shape is not None and len(shape) == 3]
    found = {"size": size, "channels": channels}
    for name, wanted in (
        ("size", {shape[0] for shape in images if shape[0] == shape[1]} - {None}),
        ("channels", {shape[2] for shape in images} - {None}),
    ):
        if found[name] is None and wanted:
            expected = f"models that take images of the same {name}; judge the others by themselves"
            checks.require(len(wanted) == 1, "evaluate", expected, shapes=sorted(map(str, images)))
            found[name] = wanted.pop()
            _logger.info("Images are read with %s=%d, as the models take them.", name, found[name])
    return found["size"], found["channels"]


def _check_labels(*data: Any) -> None:
    for source in data:
        if source.labels is None:
            raise ValueError(
                f"evaluate: expected data with labels. Received: {source.name} {source.split}, which has none."
            )
        splits.check("evaluate", source.labels, source.size)
    train, test = data
    unknown = np.setdiff1d(test.labels, train.labels)
    if unknown.size:
        names = [test.classes[label] if test.classes else str(label) for label in unknown]
        count = int(np.isin(test.labels, unknown).sum())
        _logger.warning(
            "%d of %d test images are of classes without training images, and count as errors: %s.",
            *(count, test.size, data_splits.listed(names, 10)),
        )


def _networks(models: dict[str, list[Any]], seed: int) -> dict[Column, list[Any]]:
    """Returns the networks of each column; an untrained one that cannot be made is a string, the reason."""
    # Raw pixels are the same beside every model, so they are judged once.
    networks: dict[Column, list[Any]] = {("pixels", ""): [frozen.PIXELS]}
    for name, found in models.items():
        trained = [methods.encoder_named(model) if hasattr(model, "encoders") else model for model in found]
        networks["untrained", name] = [untrained(network, seed + index) for index, network in enumerate(trained)]
        networks["trained", name] = trained
    return networks


def untrained(network: Any, seed: int) -> Any:
    """Returns the architecture of a network with fresh weights, a Keras model, or a string that says why not.

    Args:
        network: a Keras model, or anything else that `zoo.features.Extractor` takes.
        seed: seed of the weights; sets Keras' global seed.
    """
    if isinstance(network, str | os.PathLike) or not isinstance(network, keras.Model):
        return "a SavedModel does not say how its architecture is built"
    keras.utils.set_random_seed(seed)
    if hasattr(network, "architecture"):
        return architecture.build(network.architecture)
    try:
        return keras.models.clone_model(network)
    except (ValueError, TypeError, NotImplementedError) as error:
        return f"the architecture cannot be built again: {error}"


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The work to be done on every network; see `evaluate`."""

    train: Any
    test: Any
    functions: Mapping[str, protocols.Protocol]
    labels: Sequence[Labels]
    draws: int
    seed: int
    batch_size: int

    @property
    def tasks(self) -> list[Task]:
        return [(name, count) for count in self.labels for name in self.functions]

    @property
    def skipped(self) -> list[str]:
        """Names of the files that were left out because they cannot be read."""
        return sorted({file for source in (self.train, self.test) for file in source.skipped})

    def judged(self, column: Column, network: Any) -> Judged:
        """Runs all tasks on one network."""
        kind, name = column
        if kind == "untrained" and isinstance(network, str):
            return network
        cache = frozen.Cache(self.batch_size)  # not shared between networks, so that features are freed with theirs
        measured: dict[Task, Draws] = {}
        for task in self.tasks:
            began, (protocol, count) = time.monotonic(), task
            parts = [self.train] if count == "all" else [self._part(cache, count, draw) for draw in range(self.draws)]
            measured[task] = [self._measured(protocol, network, part, cache) for part in parts]
            _log(f"{name}, {kind}" if name else kind, task, measured[task], time.monotonic() - began)
        return measured

    def _part(self, cache: frozen.Cache, count: Labels, draw: int) -> Any:
        return cache.subset(self.train, splits.per_class(self.train.labels, int(count), self.seed, draw))

    def _measured(self, name: str, network: Any, part: Any, cache: frozen.Cache) -> list[protocols.Measurement]:
        found = self.functions[name](network, part, self.test, seed=self.seed, features=cache)
        is_valid = isinstance(found, list) and all(isinstance(item, protocols.Measurement) for item in found)
        checks.require(is_valid, "evaluate", f"the protocol {name!r} to return a list of measurements", returned=found)
        return found


def _log(column: str, task: Task, measured: Draws, seconds: float) -> None:
    for metric in _metrics(measured):
        values = [measurement.value for measurement in _only(measured, metric)]
        mean = "n/a" if None in values else f"{np.mean(np.array(values)):.4f}"
        _logger.info("%s: %s, %s: %s %s, in %.1f s.", column, task[0], _text(task[1]), metric, mean, seconds)


def _text(count: Labels) -> str:
    return "all" if count == "all" else f"{count} per class"


def _metrics(measured: Draws) -> list[str]:
    return list(dict.fromkeys(measurement.metric for draw in measured for measurement in draw))


def _only(measured: Draws, metric: str) -> list[protocols.Measurement]:
    """Returns the measurement of a metric in every draw."""
    missing = protocols.Measurement(metric, None, None, 0, {"reason": "the protocol did not return this metric"})
    return [next((found for found in draw if found.metric == metric), missing) for draw in measured]


def _rows(plan: _Plan, task: Task, judged: Mapping[Column, list[Judged]]) -> Iterator[results.Row]:
    """Yields the rows of a task: its metrics, and for each the columns."""
    known = {
        column: [found[task] for found in networks if isinstance(found, dict)] for column, networks in judged.items()
    }
    for metric in _metrics([draw for models in known.values() for draws in models for draw in draws]):
        for column, networks in judged.items():
            common = {
                "data": cards.without_folders(plan.train.name),
                "protocol": task[0],
                "labels": _text(task[1]),
                "features": column[0],
                "model": column[1],
                "n_seeds": len(networks),
                "seed": plan.seed,
                "metric": metric,
            }
            models = [_only(draws, metric) for draws in known[column]]
            reasons = [found for found in networks if isinstance(found, str)]
            reasons += [found.details["reason"] for draws in models for found in draws if found.value is None]
            if reasons:
                nothing = {"value": None, "interval": None, "n_test": plan.test.size}
                yield results.Row(**common, **nothing, details={"reason": reasons[0]})
            else:
                yield _row(common, models, plan.skipped)


def _row(common: dict[str, Any], models: list[list[protocols.Measurement]], skipped: list[str]) -> results.Row:
    """Returns the row of a metric that was measured for every model and draw, on data without the skipped files."""
    first = models[0][0]
    values = [[float(found.value) for found in draws if found.value is not None] for draws in models]  # [models][draws]
    means = [float(np.mean(draws)) for draws in values]
    limits = (0.0, 1.0) if results.is_accuracy(first.metric) else ()
    interval: tuple[float, float] | None
    if len(models) > 1:
        over, interval = "models", intervals.student(means, *limits)
    elif common["labels"] != "all":
        over, interval = "draws", intervals.student(values[0], *limits)
    else:
        over, interval = "test images", first.interval
    details: dict[str, Any] = {"interval_over": over, "values": values, "draws": len(values[0])}
    # Each setting once if all fits agree on it, else one per fit.
    for name in first.details:
        chosen = [found.details.get(name) for draws in models for found in draws]
        details[name] = chosen[0] if all(value == chosen[0] for value in chosen) else chosen
    if skipped:
        details["skipped"] = skipped
    return results.Row(**common, value=float(np.mean(means)), interval=interval, n_test=first.n, details=details)
