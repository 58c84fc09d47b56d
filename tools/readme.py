"""Writes the tables of README.md from what is in saved_models/: python tools/readme.py; a test holds them to it.

From the cards: the published models and the quickstart's. From `saved_models/tables`, which `tools/tables` fills:
methods side by side. What is not there makes an empty section.
"""

import json
import pathlib
import re
import statistics

from zoo.hub import cards
from zoo.transfer import results

ROOT = pathlib.Path(__file__).resolve().parent.parent
QUICKSTART = "simclr_convnet_digits.e100"
# Runs that differ in nothing but the batch norm of queries and keys.
NORMS = {"moco": "split, keys shuffled", "moco_plain": "plain"}
# Topics of `zoo-bench` in the order of README, and what their tables are called.
BENCHES = {
    "training": "training step",
    "training_large": "training step, large images",
    "accelerator": "whole step on a GPU",
    "views": "views, by CPU time",
    "losses": "losses, forward and backward",
    "losses_large": "losses of a large batch",
    "memories": "memories",
    "evaluation": "judging",
    "serving": "features and serving",
    "start": "cold start",
}


def models(folders):
    """The table of all cards, and under it each card's own."""
    heading = ["name", "input", "features", "trained on", "epochs", "MB"]
    lines, parts = [], []
    for folder in folders:
        card = cards.read(folder)
        training = card["training"]
        size = sum(file["bytes"] for file in card["files"].values()) / 1e6
        shape = " x ".join(map(str, card["input"]["shape"]))
        data = f"{training['data']} {training['split']}"
        lines.append(
            [f"`{card['name']}`", shape, str(card["embedding"]), data, f"{training['epochs']:g}", f"{size:.1f}"]
        )
        commands = dict.fromkeys(result["command"] for result in card["results"] if result["command"])
        rows = results.from_card(card)
        text = f"`{card['name']}`: {_unit(rows)}\n\n{results.markdown(rows)}"
        parts.append(text + _commands(training["command"], *commands))
    return results.grid(heading, lines, ("features", "epochs", "MB")) + "\n" + "\n".join(parts)


def _unit(rows):
    seeds = max((row.n_seeds for row in rows), default=1)
    over = f"mean and 95 % interval over {seeds} training seeds" if seeds > 1 else "95 % interval"
    return f"accuracy in %, {over} where the encoder is trained."


def _commands(*commands):
    return "\n```bash\n" + "\n".join(commands) + "\n```\n"


def tables():
    """The tables that `tools/tables` makes: name -> names of its methods, in the order of their lines."""
    text = (ROOT / "tools" / "tables").read_text()
    found = re.findall(r'^    (\w+)\)\n +methods="(.+)"$', text, re.MULTILINE)
    return {name: methods.split() for name, methods in found}


def _header(file):
    """The first comment of a gin file, as one line."""
    lines = (ROOT / "gin" / file).read_text().partition("\nfrom __gin__")[0].splitlines()
    return " ".join(line.removeprefix("# ") for line in lines)


def _judged(table, method):
    """Rows of a method in a table; none where it was not judged yet."""
    folder = ROOT / "saved_models" / "tables" / table / method
    return results.read(folder) if (folder / results.FILE).exists() else []


def title(table, method):
    """The name of a method in a table: what its run file opens with, up to the data."""
    return _header(f"runs/{method}_{table}.gin").split(". ")[0].split(" on ")[0]


def comparison(table):
    """One of `tables`: what its runs share, as their settings say it, and the methods."""
    judged = {title(table, method): _judged(table, method) for method in tables()[table]}
    judged = {name: rows for name, rows in judged.items() if rows}
    if not judged:
        return ""
    shared = _header(f"settings/{table}.gin").partition("share: ")[2].split(". ")[0]
    text = f"{shared[0].upper()}{shared[1:]}: {_unit([row for rows in judged.values() for row in rows])}\n\n"
    return text + results.compared(judged) + _commands(f"tools/tables {table}")


def _last(path, name):
    """The last value of that name in a run's records."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [record[name] for record in records if name in record][-1]


def leak():
    """MoCo on one device by its batch norm: how well it solves its own task, and what that is worth."""
    lines, commands, measured = [], [], []
    for method, norm in NORMS.items():
        rows = [row for row in _judged("fashion_mnist", method) if row.features == "trained"]
        folder = ROOT / "saved_models" / "tables" / "fashion_mnist" / method
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
        "MoCo on one device, by its batch norm: how often a query finds its own key, in %. In training, against the "
        f"queue, in the last epoch; then, in {min(measured)} run(s), for images that were not trained on, against "
        "as many keys of other batches: its key encoded together with those of its batch, as in training, and apart "
        "from them, in a group of the same size. What a query finds by its batch, the leak, is the difference.\n\n"
    )
    return text + results.grid(heading, lines, heading[1:]) + _commands(*commands)


def benchmarks():
    """Ours beside its peers: the tables of `zoo-bench`, of every machine that it ran on."""
    parts = []
    for path in sorted((ROOT / "saved_models" / "tables").glob("bench*.json")):
        record = json.loads(path.read_text())
        parts += [_bench(title, record[name]) for name, title in BENCHES.items() if name in record]
        parts += [_growth(record["growth"])] if "growth" in record else []
        left = [title for name, title in BENCHES.items() if name not in record]
        parts += [f"Not measured: {'; '.join(left)}.\n"] if left else []
        # Mostly one command for all tables.
        parts += [_commands(*dict.fromkeys(each["command"] for each in record.values())).lstrip("\n")]
    return "\n".join(parts)


def _bench(title, record):
    heading = [title, "ours", "peer", "ours, cost", "peer, cost", "ratio", "target", "reached", "of the ceiling"]
    lines = []
    for row in record["rows"]:
        unit = "MB" if row["by"] == "memory" else "ms"
        costs = [f"{_short(row[side])} {unit}" if side in row else "" for side in ("ours_cost", "peer_cost")]
        target = row["target"] if row["target"] is None or isinstance(row["target"], str) else f"{row['target']:g}"
        line = [row["work"], row["ours"], row["peer"], *costs]
        if "missing" in row:
            lines.append([*line, f"not measured: {row['missing']}", target or "", "", ""])
            continue
        spread = f" ({_short(row['low'])}-{_short(row['high'])})" if row["rounds"] > 1 else ""
        reached = {None: "", True: "yes", False: "**no**"}[row["reached"]]
        ceiling = f"{100 * row['fraction']:.3g} % of {row['of']}" if "fraction" in row else ""
        lines.append([*line, f"{_short(row['ratio'])}{spread}", target or "", reached, ceiling])
    tops = record["ceilings"]
    text = f"On {record['hardware']}, under a load of {record['machine_load']} before"
    if tops:
        text += f"; in the same run the machine multiplied at {tops['gflop_per_second']:,.0f} GFLOP/s"
    if "gb_per_second" in tops:
        text += f" and copied {tops['gb_per_second']:.3g} GB/s"
    return f"{text}.\n\n" + results.grid(heading, lines, heading[3:6])


def _growth(record):
    """How costs grow: a line per point of every curve."""
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
    text = f"How costs grow, on {record['hardware']}, under a load of {record['machine_load']} before.\n\n"
    drawn = ROOT / "saved_models" / "tables" / "growth.svg"
    text += f"![How costs grow]({drawn.relative_to(ROOT)})\n\n" if drawn.exists() else ""
    return text + results.grid(heading, lines, ("to", *heading[3:]))


def _short(value):
    """Three digits, without an exponent."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def serving():
    """What the feature server costs and how it bears up: the table of `zoo.tools.load_test`."""
    path = ROOT / "saved_models" / "tables" / "serving.json"
    if not path.exists():
        return ""
    record = json.loads(path.read_text())
    load = record["load"]
    heading = ["batch of 32", "images as", "SavedModel, ms", "served, ms", "overhead, %"]
    lines = []
    for row in record["overhead"]:
        low, high = row["overhead_quartiles"]
        cost = f"{row['overhead_percent']:.1f} ({low:.1f} to {high:.1f})"
        lines.append([row["api"], row["images"], f"{row['direct_ms']:.1f}", f"{row['served_ms']:.1f}", cost])
    text = (
        f"`{record['model']}` on {record['hardware']}, client and server on one machine, which had a load of "
        f"{record['machine_load']} before; medians, and quartiles of the overhead.\n\n"
        f"{results.grid(heading, lines, heading[2:])}\n"
    )
    heading = ["mixed load", "batch", "requests", "p50, ms", "p99, ms"]
    lines = [
        [row["api"], str(row["batch"]), f"{row['requests']:,}", f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}"]
        for row in load["latencies"]
    ]
    text += (
        f"{load['seconds'] / 60:g} minutes, {load['clients']} clients, {load['versions_served']} versions in turn: "
        f"{load['requests']:,} requests, of which {load['malformed']:,} malformed; {load['lost']} lost, "
        f"{load['wrong']} wrong, {load['unrefused']} malformed ones not refused; "
        f"{load['features_per_second']:,.0f} features per second; memory {load['mb_second_quarter']:,.0f} MB in the "
        f"second quarter, {load['mb_last_quarter']:,.0f} MB in the last. Ready {record['start_seconds']:.1f} s after "
        f"its start, {record['start_after_kill_seconds']:.1f} s after `kill -9`.\n\n"
    )
    return text + results.grid(heading, lines, heading[1:]) + _commands(record["command"])


def written(text):
    """README's text with its tables made anew."""
    folders = sorted(path.parent for path in (ROOT / "saved_models").glob("*/card.json"))
    made = {
        "models": models(folders),
        "quickstart": results.markdown(results.from_card(cards.read(ROOT / "saved_models" / QUICKSTART))),
        **{f"table {name}": comparison(name) for name in tables()},
        "table leak": leak(),
        "benchmarks": benchmarks(),
        "serving": serving(),
    }
    for name, table in made.items():
        start, rest = text.split(f"<!-- {name} -->\n")
        body = f"\n{table}" if table else ""
        text = f"{start}<!-- {name} -->\n{body}\n<!-- end -->" + rest.partition("<!-- end -->")[2]
    return text


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(written(path.read_text()))
