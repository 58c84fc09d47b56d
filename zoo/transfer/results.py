"""Rows of results, the file that keeps them, and tables that compare raw pixels, untrained and trained encoders."""

import dataclasses
import json
import pathlib
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich import table

import zoo
from zoo import checks, files

FILE = "results.json"
FEATURES = {"pixels": "raw pixels", "untrained": "untrained encoder", "trained": "trained encoder"}


def is_accuracy(metric: str) -> bool:
    """Returns whether a metric lies in [0, 1] and is shown in percent."""
    return metric.endswith("accuracy")


@dataclasses.dataclass(frozen=True)
class Row:
    """One number of a table.

    Args:
        data: name of the data.
        protocol: name of the protocol, such as "knn".
        labels: "all", or for example "10 per class".
        features: "pixels", "untrained" or "trained".
        value: the number, or None if there is none; `details["reason"]` then says why.
        interval: `(low, high)` at 95 %, or None.
        n_test: number of test examples, or None if a card does not say.
        n_seeds: number of models whose mean the value is.
        seed: seed of the draws, the folds and the untrained weights.
        details: settings, single values, and what the interval is taken over.
        metric: name of the metric.
        model: name of the model where several are judged side by side, else "".
    """

    data: str
    protocol: str
    labels: str
    features: str
    value: float | None
    interval: tuple[float, float] | None
    n_test: int | None
    n_seeds: int = 1
    seed: int = 0
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    metric: str = "accuracy"
    model: str = ""

    def __post_init__(self) -> None:
        checks.one_of("Row", "features", self.features, FEATURES)
        has_reason = self.value is not None or "reason" in self.details
        checks.require(has_reason, "Row", "details['reason'] where there is no value", details=self.details)

    @property
    def column(self) -> str:
        """The heading of its column."""
        if not self.model:
            return FEATURES[self.features]
        return self.model if self.features == "trained" else f"{self.model}, {self.features}"

    @property
    def text(self) -> str:
        """The cell of a table, accuracies in percent: `93.21 (92.70-93.69)`."""
        if self.value is None:
            return "n/a"
        number = "{:.2f}".format if is_accuracy(self.metric) else "{:.4g}".format
        scale = 100 if is_accuracy(self.metric) else 1
        value, *limits = (number(scale * found) for found in (self.value, *(self.interval or ())))
        return f"{value} ({'-'.join(limits)})" if limits else value


def versions() -> dict[str, str]:
    """Returns the versions of the packages that computed the numbers, by name."""
    # Not imported at the top: tables of numbers that were computed earlier need none of these.
    import keras
    import numpy as np
    import scipy
    import tensorflow as tf

    return {
        "zoo": zoo.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
    }


def write(folder: str | pathlib.Path, rows: Iterable[Row], command: str = "") -> pathlib.Path:
    """Writes `results.json`, whole or not at all.

    Args:
        folder: folder of the file; made if missing.
        rows: the rows to keep.
        command: the command that computes them again.

    Returns:
        The path of the file.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = {"command": command, "versions": versions(), "rows": [dataclasses.asdict(row) for row in rows]}
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    files.write(folder / FILE, text)
    return folder / FILE


def read(folder: str | pathlib.Path) -> list[Row]:
    """Returns the rows of a folder's `results.json`."""
    record = json.loads((pathlib.Path(folder) / FILE).read_text(encoding="utf-8"))
    rows = [{**row, "interval": row["interval"] and tuple(row["interval"])} for row in record["rows"]]
    return [Row(**row) for row in rows]


def _columns(rows: Sequence[Row]) -> list[str]:
    """Returns the headings of the columns of numbers."""
    known = list(dict.fromkeys(row.column for row in rows))
    return known if any(row.model for row in rows) else list(FEATURES.values())


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Returns the heading and the lines of the table.

    There is one line per data, protocol and labels, and one column per kind of features and model. Metrics have a
    column only if there are any besides the accuracy.

    Raises:
        ValueError: there are two rows for one cell.
    """
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    with_metric = any(row.metric != "accuracy" for row in rows)
    for row in rows:
        key = (row.data, row.protocol, row.labels, *([row.metric] if with_metric else []))
        line = lines.setdefault(key, {})
        if row.column in line:
            raise ValueError(f"results: expected one row per cell. Received: two of {', '.join(key)}, {row.features}.")
        line[row.column] = row.text
    columns = _columns(rows)
    heading = ["data", "protocol", "labels", *(["metric"] if with_metric else []), *columns]
    return heading, [[*key, *(line.get(column, "n/a") for column in columns)] for key, line in lines.items()]


def rich_table(rows: Sequence[Row]) -> table.Table:
    """Returns the table for a terminal: numbers with their 95 % intervals, accuracies in percent."""
    (heading, lines), columns = cells(rows), _columns(rows)
    accuracies = all(is_accuracy(row.metric) for row in rows)
    made = table.Table(title="Accuracy in % (95 % interval)" if accuracies else "95 % interval; accuracies in %")
    for name in heading:
        made.add_column(name, justify="right" if name in columns else "left", overflow="fold")
    for line in lines:
        made.add_row(*line)
    return made


def grid(heading: Sequence[str], lines: Iterable[Sequence[str]], numbers: Collection[str]) -> str:
    """Returns a table in Markdown.

    Args:
        heading: names of the columns.
        lines: the cells of each line.
        numbers: names of the columns whose cells are aligned to the right.
    """
    rule = ["---:" if name in numbers else "---" for name in heading]
    return "".join("| " + " | ".join(line) + " |\n" for line in [heading, rule, *lines])


def markdown(rows: Sequence[Row]) -> str:
    """Returns the table for a document, in Markdown."""
    return grid(*cells(rows), _columns(rows))


def compared(judged: Mapping[str, Sequence[Row]]) -> str:
    """Returns a table of several methods on the same data and labels: a line of raw pixels, then one per method.

    Args:
        judged: the rows of each method, by its name.

    Raises:
        ValueError: there are several data or labels, or two values for one cell, such as raw pixels that differ between
            methods.
    """
    rows = [(name, row) for name, found in judged.items() for row in found]
    tasks = sorted({(row.data, row.labels) for _, row in rows})
    if len(tasks) != 1:
        raise ValueError(f"results: expected methods judged on the same data and labels. Received: {tasks}.")

    def title(row):
        return row.protocol if row.metric == "accuracy" else f"{row.protocol} {row.metric}"

    columns = {(title(row), False): title(row) for _, row in rows}
    columns |= {(title(row), True): f"{title(row)}, untrained" for _, row in rows}
    lines: dict[str, dict[tuple[str, bool], str]] = {FEATURES["pixels"]: {}}
    for name, row in rows:
        name = FEATURES["pixels"] if row.features == "pixels" else name
        cell = title(row), row.features == "untrained"
        known = lines.setdefault(name, {}).setdefault(cell, row.text)
        if known != row.text:
            raise ValueError(
                f"results: expected one value per cell. Received: {known} and {row.text} for {name}, {columns[cell]}."
            )
    made = [[name, *(line.get(cell, "") for cell in columns)] for name, line in lines.items()]
    return grid(["method", *columns.values()], made, columns.values())


def on_card(card: Mapping[str, Any], rows: Iterable[Row], command: str | None = None) -> dict[str, Any]:
    """Returns a copy of a card with these rows among its results; they replace earlier ones of ours for the same cell.

    Args:
        card: content of a `card.json`.
        rows: rows without a value are left out.
        command: the command that computes them again.
    """
    new = [
        {
            "data": row.data,
            "protocol": row.protocol,
            "labels": row.labels,
            **({} if row.metric == "accuracy" else {"metric": row.metric}),
            "value": row.value,
            "interval": row.interval and list(row.interval),
            "n_seeds": row.n_seeds,
            "model": row.features,
            "source": "ours",
            "command": command or None,
        }
        for row in rows
        if row.value is not None
    ]

    def cell(result):
        names = ("data", "protocol", "labels", "model", "source")
        return (*(str(result[name]) for name in names), result.get("metric", "accuracy"))

    replaced = {cell(result) for result in new}
    return {**card, "results": [result for result in card["results"] if cell(result) not in replaced] + new}


def from_card(card: Mapping[str, Any]) -> list[Row]:
    """Returns our own results on a card as rows."""
    return [
        Row(
            result["data"],
            result["protocol"],
            str(result["labels"]),
            result["model"],
            result["value"],
            result["interval"] and tuple(result["interval"]),
            n_test=None,
            n_seeds=result["n_seeds"],
            metric=result.get("metric", "accuracy"),
        )
        for result in card["results"]
        if result["source"] == "ours"
    ]
