"""Writes the tables of README.md from the cards in saved_models/: python tools/readme.py; a test holds them to it."""

import pathlib

from zoo.hub import cards

ROOT = pathlib.Path(__file__).resolve().parent.parent
KINDS = {"pixels": "raw pixels", "untrained": "untrained encoder", "trained": "trained encoder"}
QUICKSTART = "simclr_convnet_digits.e100"


def _table(heading, lines, numbers):
    rule = ["---:" if name in numbers else "---" for name in heading]
    return "".join("| " + " | ".join(line) + " |\n" for line in [heading, rule, *lines])


def _percent(result):
    low, high = result["interval"]
    return f"{100 * result['value']:.2f} ({100 * low:.2f}-{100 * high:.2f})"


def results(card):
    """The table of one card: a line per data, protocol and labels."""
    lines = {}
    for result in card["results"]:
        line = lines.setdefault((result["data"], result["protocol"], str(result["labels"])), {})
        line[result["model"]] = _percent(result)
    heading = ["data", "protocol", "labels", *KINDS.values()]
    cells = [[*line, *(found.get(kind, "n/a") for kind in KINDS)] for line, found in lines.items()]
    return _table(heading, cells, KINDS.values())


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
        seeds = max((result["n_seeds"] for result in card["results"]), default=1)
        over = f"mean and 95 % interval over {seeds} training seeds" if seeds > 1 else "95 % interval"
        made = "\n".join([training["command"], *commands])
        text = f"`{card['name']}`: accuracy in %, {over} where the encoder is trained.\n\n"
        parts.append(f"{text}{results(card)}\n```bash\n{made}\n```\n")
    return _table(heading, lines, ("features", "epochs", "MB")) + "\n" + "\n".join(parts)


def written(text):
    """README's text with its tables made anew."""
    folders = sorted(path.parent for path in (ROOT / "saved_models").glob("*/card.json"))
    made = {"models": models(folders), "quickstart": results(cards.read(ROOT / "saved_models" / QUICKSTART))}
    for name, table in made.items():
        start, rest = text.split(f"<!-- {name} -->\n")
        text = f"{start}<!-- {name} -->\n\n{table}\n<!-- end -->" + rest.partition("<!-- end -->")[2]
    return text


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(written(path.read_text()))
