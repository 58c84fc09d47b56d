"""Writes the generated sections of all READMEs.

python tools/readme.py

The models and the quickstart's table come from the cards; the comparisons of methods and the measurements come from
`saved_models/tables`, which `tools/tables`, `zoo-bench` and `zoo.tools.load_test` fill; the lists of files quote the
first sentence of each file. A section whose numbers were not measured is empty. A test fails if a README is out of
date.
"""

import ast
import functools
import json
import pathlib
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoo import files
from zoo.hub import cards
from zoo.transfer import results

ROOT = pathlib.Path(__file__).resolve().parent.parent
QUICKSTART = "simclr_convnet_digits.e100"
# Runs that differ only in how queries and keys are batch-normalized.
NORMS = {"moco": "in groups, keys shuffled", "moco_plain": "plain"}
GIN_FOLDERS = ("runs", "methods", "views", "encoders", "data", "optimizers", "settings")
# Topics of `zoo-bench`, in the order of their tables, and the titles of the tables.
BENCHES = {
    "training": "training step",
    "training_large": "training step, large images",
    "methods": "methods: steps, Sinkhorn and clustering",
    "accelerator": "whole step on a GPU",
    "views": "views, by CPU time",
    "losses": "losses, forward and backward",
    "losses_large": "losses of a large batch",
    "memories": "memories",
    "evaluation": "evaluation",
    "serving": "features and serving",
    "start": "cold start",
}


def _tables_folder() -> pathlib.Path:
    return ROOT / "saved_models" / "tables"


def documents() -> dict[str, dict[str, Callable[[], str]]]:
    """Returns the function that writes each generated section, by document and name of the section."""
    return {
        "README.md": {"quickstart": quickstart},
        "saved_models/README.md": {"models": models},
        "saved_models/tables/README.md": {
            **{f"table {name}": functools.partial(comparison, name) for name in tables()},
            "table leak": leak,
            "benchmarks": benchmarks,
            "serving": serving,
        },
        "gin/README.md": {f"gin {name}": functools.partial(gin_files, name) for name in GIN_FOLDERS},
        "tools/README.md": {"programs": programs},
        "zoo/README.md": {"modules": modules},
    }


def written(text: str, sections: Mapping[str, Callable[[], str]]) -> str:
    """Returns the text of a document with its sections, from `<!-- name -->` to `<!-- end -->`, rewritten.

    Args:
        text: the document as it stands.
        sections: the function that writes each section, by name.

    Raises:
        ValueError: the document does not mark a section exactly once.
    """
    for name, write in sections.items():
        start, *rest = text.split(f"<!-- {name} -->\n")
        if len(rest) != 1 or "<!-- end -->" not in rest[0]:
            raise ValueError(f"written: expected one section marked {name!r}. Received: {len(rest)} in the text.")
        made = write()
        body = f"\n{made}" if made else ""
        text = f"{start}<!-- {name} -->\n{body}\n<!-- end -->" + rest[0].partition("<!-- end -->")[2]
    return text


def quickstart() -> str:
    """Returns the results of the quickstart's model."""
    return results.markdown(results.from_card(cards.read(ROOT / "saved_models" / QUICKSTART)))


def models() -> str:
    """Returns the table of all published models, and below it the results of each."""
    heading = ["name", "input", "features", "trained on", "epochs", "MB"]
    lines, parts = [], []
    for path in sorted((ROOT / "saved_models").glob("*/card.json")):
        card = cards.read(path.parent)
        training = card["training"]
        size = sum(file["bytes"] for file in card["files"].values()) / 1e6
        shape = " x ".join(map(str, card["input"]["shape"]))
        data = f"{training['data']} {training['split']}"
        lines.append(
            [f"`{card['name']}`", shape, str(card["embedding"]), data, f"{training['epochs']:g}", f"{size:.1f}"]
        )
        commands = dict.fromkeys(result["command"] for result in card["results"] if result["command"])
        rows = results.from_card(card)
        text = f"## {card['name']}\n\n{_unit(rows)} [Card]({card['name']}/card.json).\n\n{results.markdown(rows)}"
        parts.append(text + _commands(training["command"], *commands))
    return results.grid(heading, lines, ("features", "epochs", "MB")) + "\n" + "\n".join(parts)


def _unit(rows: Sequence[results.Row]) -> str:
    seeds = max((row.n_seeds for row in rows), default=1)
    if seeds == 1:
        return "Accuracy in %, with 95 % intervals."
    return f"Accuracy in %; for encoders, the mean and the 95 % interval over {seeds} training seeds."


def _commands(*commands: str) -> str:
    return "\n```bash\n" + "\n".join(commands) + "\n```\n"


def tables() -> dict[str, list[str]]:
    """Returns the methods of each table that `tools/tables` makes, in the order of the table's lines."""
    text = (ROOT / "tools" / "tables").read_text()
    found = re.findall(r'^    (\w+)\)\n +methods="(.+)"$', text, re.MULTILINE)
    return {name: methods.split() for name, methods in found}


def _header(file: str) -> str:
    """Returns the first comment of a gin file as one line."""
    lines = (ROOT / "gin" / file).read_text().partition("\nfrom __gin__")[0].splitlines()
    return " ".join(line.removeprefix("# ") for line in lines)


def _judged(table: str, method: str) -> list[results.Row]:
    """Returns the rows of a method in a table; none if it was not evaluated yet."""
    folder = _tables_folder() / table / method
    return results.read(folder) if (folder / results.FILE).exists() else []


def title(table: str, method: str) -> str:
    """Returns the name of a method in a table: what its run file opens with, up to the data."""
    return _header(f"runs/{method}_{table}.gin").split(". ")[0].split(" on ")[0]


def comparison(table: str) -> str:
    """Returns one of `tables`, below a summary of the settings that its runs share."""
    judged = {title(table, method): _judged(table, method) for method in tables()[table]}
    judged = {name: rows for name, rows in judged.items() if rows}
    if not judged:
        return ""
    shared = _header(f"settings/{table}.gin").partition("share: ")[2].split(". ")[0]
    unit = _unit([row for rows in judged.values() for row in rows])
    text = f"{shared[0].upper()}{shared[1:]}. {unit}\n\n"
    return text + results.compared(judged) + _commands(f"tools/tables {table}")


def _last(path: pathlib.Path, name: str) -> float:
    """Returns the last value with that name in a run's records."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [record[name] for record in records if name in record][-1]


def leak() -> str:
    """Returns the comparison of MoCo's kinds of batch norm on one device: its own task solved, and the accuracy."""
    lines, commands, measured = [], [], []
    for method, norm in NORMS.items():
        rows = [row for row in _judged("fashion_mnist", method) if row.features == "trained"]
        folder = _tables_folder() / "fashion_mnist" / method
        paths = sorted(folder.glob("seed*.jsonl"))
        if not rows or not paths or not (folder / "leak.json").exists():
            return ""
        trained = statistics.mean(_last(path, "contrast_accuracy") for path in paths)
        record = json.loads((folder / "leak.json").read_text())
        together, apart = (statistics.mean(row[keys] for row in record["rows"]) for keys in ("together", "apart"))
        measured.append(len(record["rows"]))
        found = {row.protocol: row.text for row in rows}
        numbers = [f"{100 * share:.2f}" for share in (trained, together, apart)]
        lines.append([norm, *numbers, f"{100 * (together - apart):+.2f}", found["knn"], found["linear"]])
        commands.append(record["command"])
    heading = ["batch norm", "in training", "key together", "key apart", "leak", "knn", "linear"]
    text = (
        "MoCo on one device, with two kinds of batch norm: how often a query finds its own key, in %. "
        "*In training*: among the keys of the queue, in the last epoch. The next two columns are measured in "
        f"{min(measured)} run(s), on images that were not trained on, against as many keys of other batches. "
        "*Key together*: the key is encoded together with its batch, as in training. *Key apart*: it is encoded in "
        "another group of the same size. The difference, *leak*, is what batch statistics reveal.\n\n"
    )
    return text + results.grid(heading, lines, heading[1:]) + _commands(*commands)


def benchmarks() -> str:
    """Returns the tables of `zoo-bench` from every machine that it ran on."""
    parts = []
    for path in sorted(_tables_folder().glob("bench*.json")):
        record = json.loads(path.read_text())
        parts += [_bench(title, record[name]) for name, title in BENCHES.items() if name in record]
        parts += [_growth(record["growth"])] if "growth" in record else []
        missing = [title for name, title in BENCHES.items() if name not in record]
        parts += [f"Not measured: {'; '.join(missing)}.\n"] if missing else []
        # Most tables share one command.
        parts += [_commands(*dict.fromkeys(part["command"] for part in record.values())).lstrip("\n")]
    return "\n".join(parts)


def _bench(title: str, record: Mapping[str, Any]) -> str:
    """Returns the table of one topic."""
    heading = [title, "zoo", "peer", "zoo, cost", "peer, cost", "ratio", "target", "reached", "share of peak"]
    lines = [_bench_line(row) for row in record["rows"]]
    peaks = record["ceilings"]
    text = f"{record['hardware']}, load {record['machine_load']} before the run"
    if peaks:
        text += f". In the same run the machine multiplied matrices at {peaks['gflop_per_second']:,.0f} GFLOP/s"
    if "gb_per_second" in peaks:
        text += f" and copied {peaks['gb_per_second']:.3g} GB/s"
    return f"On {text}.\n\n" + results.grid(heading, lines, heading[3:6])


def _bench_line(row: Mapping[str, Any]) -> list[str]:
    """Returns the cells of one comparison."""
    unit = "MB" if row["by"] == "memory" else "ms"
    costs = [f"{_short(row[side])} {unit}" if side in row else "" for side in ("ours_cost", "peer_cost")]
    target = row["target"] if row["target"] is None or isinstance(row["target"], str) else f"{row['target']:g}"
    line = [row["work"], row["ours"], row["peer"], *costs]
    if "missing" in row:
        return [*line, f"not measured: {row['missing']}", target or "", "", ""]
    spread = f" ({_short(row['low'])}-{_short(row['high'])})" if row["rounds"] > 1 else ""
    reached = {None: "", True: "yes", False: "**no**"}[row["reached"]]
    share = f"{100 * row['fraction']:.3g} % of {row['of']}" if "fraction" in row else ""
    return [*line, f"{_short(row['ratio'])}{spread}", target or "", reached, share]


def _growth(record: Mapping[str, Any]) -> str:
    """Returns how costs grow: one line per point of every curve."""
    heading = ["what grows", "to", "cost of", "ms (quartiles)", "extra MB"]
    lines = []
    for curve in record["curves"]:
        for point in curve["points"]:
            if "missing" in point:
                cost = [f"not measured: {point['missing']}", ""]
            else:
                ms = f"{_short(point['ms'])} ({_short(point['low'])}-{_short(point['high'])})"
                cost = [ms, _short(point["extra_mb"])]
            lines.append([curve["quantity"], f"{point['x']:,}", curve["work"], *cost])
    text = f"How costs grow, on {record['hardware']}, load {record['machine_load']} before the run.\n\n"
    text += "![How costs grow](growth.svg)\n\n" if (_tables_folder() / "growth.svg").exists() else ""
    return text + results.grid(heading, lines, ("to", *heading[3:]))


def _short(value: float) -> str:
    """Returns a number with three digits, without an exponent."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def serving() -> str:
    """Returns what `zoo.tools.load_test` measured: the overhead of the feature server, and a mixed load."""
    path = _tables_folder() / "serving.json"
    if not path.exists():
        return ""
    record = json.loads(path.read_text())
    heading = ["batch of 32", "images as", "SavedModel, ms", "served, ms", "overhead, %"]
    lines = []
    for row in record["overhead"]:
        low, high = row["overhead_quartiles"]
        cost = f"{row['overhead_percent']:.1f} ({low:.1f} to {high:.1f})"
        lines.append([row["api"], row["images"], f"{row['direct_ms']:.1f}", f"{row['served_ms']:.1f}", cost])
    text = (
        f"`{record['model']}` on {record['hardware']}, client and server on one machine, load "
        f"{record['machine_load']} before the run. Medians; quartiles of the overhead.\n\n"
        f"{results.grid(heading, lines, heading[2:])}\n"
    )
    return text + _mixed_load(record) + _commands(record["command"])


def _mixed_load(record: Mapping[str, Any]) -> str:
    """Returns what happened to a server under load, and its latencies."""
    load = record["load"]
    heading = ["mixed load", "batch", "requests", "p50, ms", "p99, ms"]
    lines = [
        [row["api"], str(row["batch"]), f"{row['requests']:,}", f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}"]
        for row in load["latencies"]
    ]
    text = (
        f"{load['clients']} clients for {load['seconds'] / 60:g} minutes, while {load['versions_served']} versions of "
        f"the model replaced each other: {load['requests']:,} requests, {load['malformed']:,} of them malformed. "
        f"{load['lost']} requests were lost, {load['wrong']} answers were wrong, and {load['unrefused']} malformed "
        f"requests were accepted. The server computed {load['features_per_second']:,.0f} features per second. It took "
        f"{load['mb_second_quarter']:,.0f} MB of memory in the second quarter of the time and "
        f"{load['mb_last_quarter']:,.0f} MB in the last. It was ready {record['start_seconds']:.1f} s after its start, "
        f"and {record['start_after_kill_seconds']:.1f} s after a start that followed `kill -9`.\n\n"
    )
    return text + results.grid(heading, lines, heading[1:])


def gin_files(folder: str) -> str:
    """Returns the files of a folder of gin/, with the first sentence of each."""
    names = sorted(path.name for path in (ROOT / "gin" / folder).glob("*.gin"))
    headers = [_header(f"{folder}/{name}").removeprefix(f"gin/{folder}/{name}: ") for name in names]
    lines = [[f"`{folder}/{name}`", _sentence(header)] for name, header in zip(names, headers, strict=True)]
    return results.grid(["file", "contents"], lines, ())


def programs() -> str:
    """Returns the programs of tools/, with the first sentence of each."""
    setup = (ROOT / "setup.py").read_text()
    console = ast.literal_eval(re.search(r"^PROGRAMS = (\[.*?\])", setup, re.MULTILINE | re.DOTALL)[1])
    lines = []
    for path in sorted((ROOT / "tools").iterdir()):
        text = path.read_text() if path.is_file() else ""
        if text.startswith("#!") or path.name == "environment":
            comments = (
                text.removeprefix("#!/usr/bin/env bash\n").replace("\n#\n", "\n\n").partition("\n\n")[0].splitlines()
            )
            about = " ".join(line.removeprefix("# ") for line in comments if line.startswith("#"))
            lines.append([f"`tools/{path.name}`", _sentence(about)])
        elif path.suffix == ".py" and "if __name__" in text:
            module = f"python -m zoo.tools.{path.stem}" if "\ndef cli" in text else f"python tools/{path.name}"
            name = f"zoo-{path.stem}" if path.stem in console else module
            lines.append([f"`{name}`", _sentence(ast.get_docstring(ast.parse(text)) or "")])
    return results.grid(["program", "purpose"], sorted(lines), ())


def modules() -> str:
    """Returns the modules of the library, with the first sentence of each."""
    lines = []
    for path in sorted((ROOT / "zoo").rglob("*.py")):
        about = ast.get_docstring(ast.parse(path.read_text()))
        if about:
            lines.append([f"`{path.relative_to(ROOT)}`", _sentence(about)])
    return results.grid(["module", "purpose"], lines, ())


def _sentence(text: str) -> str:
    """Returns the first sentence of a text, as the cell of a table."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    first = re.split(r"\. (?=[A-Z`]|zoo-)", paragraph)[0].rstrip(".:").replace("|", r"\|")
    return first[:1].upper() + first[1:]


def main() -> None:
    """Writes all documents."""
    for name, sections in documents().items():
        path = ROOT / name
        files.write(path, written(path.read_text(), sections))


if __name__ == "__main__":
    main()
