"""The interface of transfer protocols, and how they are found by name.

A protocol of the library is the function `protocol` of a file `zoo/transfer/<name>_protocol.py`; there is no registry
to edit. A protocol of your own is a function with the same signature, found by its import path.
"""

import dataclasses
import importlib
import pathlib
import typing
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo import checks
from zoo.transfer import intervals

_SUFFIX = "_protocol"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One number that a protocol measured.

    Args:
        metric: name of the metric. A metric whose name ends with "accuracy" lies in [0, 1] and is shown in percent.
        value: the number, or None if there is none; `details["reason"]` then says why.
        interval: `(low, high)` at 95 %, over the test examples, or None.
        n: number of test examples.
        details: settings that were used and anything else worth keeping, as data that JSON can hold.
    """

    metric: str
    value: float | None
    interval: tuple[float, float] | None
    n: int
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        has_reason = self.value is not None or "reason" in self.details
        checks.require(has_reason, "Measurement", "details['reason'] where there is no value", details=self.details)


class Features(typing.Protocol):
    """Frozen features, extracted once and shared by all protocols; see `zoo.features.Cache`."""

    def __call__(self, model: Any, source: Any) -> np.ndarray:
        """Returns the features of a source's examples, float32 `[n, F]`, in order."""


class Protocol(typing.Protocol):
    """Measures how well the features of a model serve a task."""

    def __call__(self, model: Any, train: Any, test: Any, *, seed: int, features: Features) -> list[Measurement]:
        """Returns the measurements, of the same metrics for every model.

        Args:
            model: a Keras model, the path of a SavedModel, or "pixels". A protocol that trains the network itself
                returns measurements without a value for what it cannot train.
            train: a `zoo.data.sources.Source` with labels. Settings must be chosen on it alone.
            test: a source with labels. It should be used once for each measurement.
            seed: seed of everything that is random, an integer.
            features: `features(model, source)` returns the frozen features of a source.
        """


def accuracy(value: float, n: int, details: dict[str, Any] | None = None, others: Sequence[float] = ()) -> Measurement:
    """Returns an accuracy with Wilson's interval.

    Args:
        value: in [0, 1].
        n: number of test examples.
        details: see `Measurement`.
        others: accuracies under settings that are as good as the chosen one by all that the training examples tell. The
            interval holds Wilson's of each.
    """
    values = [float(value), *others]
    checks.fractions("protocols.accuracy", value=values[0])
    low, high = (intervals.wilson(end(values), n) for end in (min, max))
    return Measurement("accuracy", values[0], (low[0], high[1]), n, details or {})


def names() -> list[str]:
    """Returns the names of the library's protocols."""
    files = pathlib.Path(__file__).parent.glob(f"*{_SUFFIX}.py")
    return sorted(path.stem.removesuffix(_SUFFIX) for path in files)


def find(name: str) -> Protocol:
    """Returns the protocol of the given name.

    Args:
        name: name of one of the library's protocols, such as "knn"; or the import path of a function,
            `package.module.function`.

    Raises:
        ValueError: there is no such protocol.
    """
    if "." not in name:
        checks.one_of("protocols.find", "name", name, names())
        return importlib.import_module(f"{__package__}.{name}{_SUFFIX}").protocol
    path, _, function = name.rpartition(".")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise  # The module exists, but something that it imports does not.
        raise ValueError(
            "protocols.find: expected the import path of a function. "
            f"Received: name={name!r}, but there is no module {error.name!r}."
        ) from error
    found = getattr(module, function, None)
    if not callable(found):
        hint = checks.suggestion(function, [word for word, value in vars(module).items() if callable(value)])
        raise ValueError(f"protocols.find: expected a function of the module {path!r}. Received: name={name!r}.{hint}")
    return found
