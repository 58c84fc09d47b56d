"""What was judged: rows, the file that keeps them, and tables that show raw pixels and untrained beside trained."""

import dataclasses
import json
import pathlib
import platform

from rich import table

import zoo
from zoo import files

FILE = "results.json"
FEATURES = {"pixels": "raw pixels", "untrained": "untrained encoder", "trained": "trained encoder"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One accuracy.

    Args:
        data: name of the data.
        protocol: "knn" or "linear".
        labels: "all", or as in "10 per class".
        features: "pixels", "untrained" or "trained".
        value: accuracy in [0, 1], or None where there is none; `details["reason"]` then says why.
        interval: `(low, high)` of 95 %, or None.
        n_test: test images, or None where a card does not say.
        n_seeds: models whose mean the value is.
        seed: of the draws, the held-out labels and the untrained weights.
        details: settings, single values, and what the interval is about.
    """

    data: str
    protocol: str
    labels: str
    features: str
    value: float | None
    interval: tuple | None
    n_test: int | None
    n_seeds: int = 1
    seed: int = 0
    details: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.features not in FEATURES:
            raise ValueError(f"Row: expected one of {', '.join(FEATURES)}. Received: features={self.features!r}.")
        if self.value is None and "reason" not in self.details:
            raise ValueError("Row: expected details['reason'] where there is no value. Received: value=None.")

    @property
    def text(self):
        """The cell of a table, in percent: `93.21 (92.70-93.69)`."""
        if self.value is None:
            return "n/a"
        if self.interval is None:
            return f"{100 * self.value:.2f}"
        return f"{100 * self.value:.2f} ({100 * self.interval[0]:.2f}-{100 * self.interval[1]:.2f})"


def versions():
    """Versions of what computed the numbers."""
    # Not at the top: tables are also made of numbers that were computed before, and need none of these.
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


def write(folder, rows, command=""):
    """Writes `results.json` whole or not at all.

    Args:
        folder: is made when missing.
        rows: `Row`s.
        command: how to get them again.

    Returns:
        `pathlib.Path` of the file.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = {"command": command, "versions": versions(), "rows": [dataclasses.asdict(row) for row in rows]}
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    files.write(folder / FILE, text)
    return folder / FILE


def read(folder):
    """The rows of a folder's `results.json`."""
    record = json.loads((pathlib.Path(folder) / FILE).read_text(encoding="utf-8"))
    rows = [{**row, "interval": row["interval"] and tuple(row["interval"])} for row in record["rows"]]
    return [Row(**row) for row in rows]


def cells(rows):
    """Heading and lines of the table: one line per data, protocol and labels, one column per kind of features.

    Raises:
        ValueError: two rows for one cell.
    """
    lines = {}
    for row in rows:
        line = lines.setdefault((row.data, row.protocol, row.labels), {})
        if row.features in line:
            raise ValueError(
                f"results: expected one row per cell. Received: two of {row.data}, {row.protocol}, {row.labels}, "
                f"{row.features}."
            )
        line[row.features] = row.text
    heading = ["data", "protocol", "labels", *FEATURES.values()]
    return heading, [[*line, *(found.get(kind, "n/a") for kind in FEATURES)] for line, found in lines.items()]


def drawn(rows):
    """The table for a terminal, a `rich.table.Table`: accuracy in percent with its 95 % interval."""
    heading, lines = cells(rows)
    made = table.Table(title="Accuracy in % (95 % interval)")
    for name in heading:
        made.add_column(name, justify="right" if name in FEATURES.values() else "left")
    for line in lines:
        made.add_row(*line)
    return made


def grid(heading, lines, numbers):
    """A table in Markdown.

    Args:
        heading: names of the columns.
        lines: lists of cells.
        numbers: names of the columns whose cells are flush right.
    """
    rule = ["---:" if name in numbers else "---" for name in heading]
    return "".join("| " + " | ".join(line) + " |\n" for line in [heading, rule, *lines])


def markdown(rows):
    """The table for a document, in Markdown."""
    return grid(*cells(rows), FEATURES.values())


def compared(judged):
    """Several methods on the same data and labels, in Markdown: a line of raw pixels, then one per method.

    Args:
        judged: name of a method -> its `Row`s.

    Raises:
        ValueError: several data or labels; two values for one cell, as of raw pixels that differ between methods.
    """
    rows = [(name, row) for name, its in judged.items() for row in its]
    tasks = sorted({(row.data, row.labels) for _, row in rows})
    if len(tasks) != 1:
        raise ValueError(f"results: expected methods judged on the same data and labels. Received: {tasks}.")
    columns = {(row.protocol, False): row.protocol for _, row in rows}
    columns |= {(row.protocol, True): f"{row.protocol}, untrained" for _, row in rows}
    lines = {FEATURES["pixels"]: {}}
    for name, row in rows:
        name = FEATURES["pixels"] if row.features == "pixels" else name
        cell = row.protocol, row.features == "untrained"
        known = lines.setdefault(name, {}).setdefault(cell, row.text)
        if known != row.text:
            raise ValueError(
                f"results: expected one value per cell. Received: {known} and {row.text} for {name}, {columns[cell]}."
            )
    made = [[name, *(line.get(cell, "") for cell in columns)] for name, line in lines.items()]
    return grid(["method", *columns.values()], made, columns.values())


def on_card(card, rows, command=None):
    """A card with these rows among its results: they replace earlier ones of ours for the same cell.

    Args:
        card: content of a `card.json`; is left as it is.
        rows: `Row`s; those without a value are left out.
        command: how to get them again.

    Returns:
        A new card.
    """
    new = [
        {
            "data": row.data,
            "protocol": row.protocol,
            "labels": row.labels,
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
        return tuple(str(result[name]) for name in ("data", "protocol", "labels", "model", "source"))

    replaced = {cell(result) for result in new}
    return {**card, "results": [result for result in card["results"] if cell(result) not in replaced] + new}


def from_card(card):
    """Our own results on a card, as `Row`s."""
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
        )
        for result in card["results"]
        if result["source"] == "ours"
    ]
