import ast
import importlib
import inspect
import json
import re

import pytest

from zoo.hub import cards
from zoo.tools import readme
from zoo.transfer import results

ROOT = readme.ROOT
DOCUMENTS = {path: (ROOT / path).read_text() for path in [
    "README.md", "CONTRIBUTING.md", "gin/README.md", "saved_models/README.md", "saved_models/tables/README.md",
    "tools/README.md", "zoo/README.md",
]}  # fmt: skip
TEXT = DOCUMENTS["README.md"]
ALL = "\n".join(DOCUMENTS.values())
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:zoo-|python -m zoo\.tools\.)(\w+)([^#]*)")


@pytest.mark.parametrize("path", readme.documents())
def test_generated_sections_are_up_to_date(path):
    assert readme.written(DOCUMENTS[path], readme.documents()[path]) == DOCUMENTS[path], "run `python tools/readme.py`"


def test_a_section_is_marked_once():
    sections = {"shelf": lambda: "books\n"}
    assert readme.written("<!-- shelf -->\n<!-- end -->", sections) == "<!-- shelf -->\n\nbooks\n\n<!-- end -->"
    for text in ("", "<!-- shelf -->\n", 2 * "<!-- shelf -->\n<!-- end -->\n"):
        with pytest.raises(ValueError, match="one section marked 'shelf'"):
            readme.written(text, sections)


def test_the_root_readme_is_short():
    assert len(TEXT.encode()) < 16_000


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)]+)\)", BLOCK.sub("", DOCUMENTS[path])):
        assert link.startswith("https://") or (ROOT / path).parent.joinpath(link.partition("#")[0]).exists(), link


@pytest.mark.parametrize("path", sorted(set(re.findall(r"gin_file=(?:gin/)?(\S+\.gin)", ALL))))
def test_gin_files_exist(path):
    assert (ROOT / "gin" / path).exists() or f"# gin/{path}" in DOCUMENTS["CONTRIBUTING.md"]


def test_models_are_published():
    for name in set(re.findall(r"simclr_\w+\.e\d+", ALL)):
        assert (ROOT / "saved_models" / name / "card.json").exists(), name


def test_run_files_quote_their_cards():
    quoted = 0
    for path in (ROOT / "saved_models").glob("*/card.json"):
        card = cards.read(path.parent)
        run = re.search(r"gin_file=(\S+)", card["training"]["command"])[1]
        header = (ROOT / "gin" / run).read_text().split("from __gin__")[0]
        for result in card["results"]:
            if result["labels"] == "all":
                (row,) = results.from_card({"results": [result]})
                assert row.text in header, (run, result)
                quoted += 1
    assert quoted


def test_programs_and_flags_exist():
    shown = [match.groups() for line in ALL.splitlines() for match in COMMAND.finditer(line)]
    assert len({program for program, _ in shown}) > 3
    for program, arguments in shown:
        files = [ROOT / "tools" / f"{name}.py" for name in (program, "config")]
        known = "".join(path.read_text() for path in files)
        for flag in re.findall(r"(?<!\w)--(\w+)", arguments.partition("`")[0]):
            assert re.search(rf'"(--)?{flag}"', known), (program, flag)


def test_bindings_exist():
    bound = 0
    blocks = "".join(BLOCK.findall(TEXT + DOCUMENTS["gin/README.md"]))
    for module, name, parameter in re.findall(r"(?<![/.\w])(?:@?\w+/|@)?([a-z]+)\.(\w+)(?:\.(\w+) =|\()", blocks):
        homes = list((ROOT / "zoo").glob(f"*/{module}.py"))
        if not homes:  # tf.saved_model.load(...) and the like
            continue
        found = getattr(importlib.import_module(f"zoo.{homes[0].parent.name}.{module}"), name)
        assert not parameter or parameter in inspect.signature(found).parameters, (name, parameter)
        bound += 1
    assert bound > 10


def test_the_run_it_quotes_is_the_run():
    run, quoted = re.search(r"From `(gin/runs/\S+)`:\n\n```\n(.*?)```", TEXT, re.DOTALL).groups()
    assert quoted in (ROOT / run).read_text()


def test_folders_are_described_whole():
    for path, text in DOCUMENTS.items():
        if path in ("gin/README.md", "zoo/README.md"):
            folder = (ROOT / path).parent
            files = [file for file in folder.rglob("*.*") if file.suffix in (".gin", ".py") and file.stat().st_size]
            named = folder if folder.name == "gin" else ROOT
            assert files and all(f"| `{file.relative_to(named)}` | " in text for file in files)


def test_the_first_sentence_of_a_text():
    assert readme._sentence("As in SimCLR (Chen et al., 2020,\nAppendix B.9). It is\nshort.") == (
        "As in SimCLR (Chen et al., 2020, Appendix B.9)"
    )
    assert readme._sentence("One line: a | b.\n\nMore.") == r"One line: a \| b"


def test_worked_examples_are_files():
    """Every example of CONTRIBUTING is a library file, a gin file or a second library file, and a test."""
    blocks = BLOCK.findall(DOCUMENTS["CONTRIBUTING.md"])
    examples = {match[1]: block for block in blocks if (match := re.match(r"# (\S+\.(?:py|gin))\b", block))}
    assert len(examples) == 9 and len({path for path in examples if path.startswith("tests/")}) == 3
    for path, text in examples.items():
        assert not (ROOT / path).exists(), path
        if path.endswith(".py"):
            ast.parse(text)


def test_tables_hold_what_is_kept():
    """Every judged method has a line, under a name of its own, and as many records as models were judged."""
    named = readme.tables()
    for folder in (ROOT / "saved_models" / "tables").glob("*/*/"):
        table, method = folder.parts[-2:]
        assert method in named[table], folder
        seeds = max(row.n_seeds for row in results.read(folder))
        assert [path.name for path in sorted(folder.glob("*.jsonl"))] == [f"seed{k}.jsonl" for k in range(seeds)]
    for table, methods in named.items():
        assert len({readme.title(table, method) for method in methods}) == len(methods) > 2


def judge(folder, trained, accuracies):
    """Writes what `tools/tables` keeps of a method."""
    values = {"pixels": 0.5, "untrained": 0.4, "trained": trained}
    rows = [
        results.Row("scenes", protocol, "all", kind, value + 0.01 * (protocol == "linear"), None, 10, n_seeds=2)
        for protocol in ("knn", "linear")
        for kind, value in values.items()
    ]
    results.write(folder, rows)
    for seed, accuracy in enumerate(accuracies):
        records = [{"step": 1, "loss": 9, "contrast_accuracy": 0.9}]
        records += [{"step": 2, "loss": 2 + seed, "contrast_accuracy": accuracy}, {"step": 2, "alignment": 0.1}]
        (folder / f"seed{seed}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout without tables."""
    for name in ("gin", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    return tmp_path / "saved_models" / "tables"


def test_without_artefacts_there_is_no_table(checkout):
    assert not readme.leak() and not readme.benchmarks() and not any(map(readme.comparison, readme.tables()))


def test_methods_stand_in_the_order_of_the_program(checkout):
    for method in ("moco_v2", "pirl", "simclr"):
        judge(checkout / "fashion_mnist" / method, 0.7, ())
    made = readme.comparison("fashion_mnist")
    assert made.startswith("10,000 pictures of Fashion-MNIST, 12 epochs, a small ConvNet. Accuracy in %; for encoders,")
    assert re.findall(r"^\| (.+?) \|", made, re.MULTILINE)[2:] == ["raw pixels", "SimCLR", "PIRL", "MoCo v2"]
    assert made.endswith("```bash\ntools/tables fashion_mnist\n```\n")


def test_the_leak_is_a_mean_over_the_runs(checkout):
    rows = [{"together": 0.3, "apart": 0.1}, {"together": 0.4, "apart": 0.2}]
    measured = {"command": "python -m zoo.tools.leak", "rows": rows}
    for method, value, accuracies in (("moco", 0.7, (0.1, 0.2)), ("moco_plain", 0.6, (0.5, 0.7))):
        assert readme.leak() == ""  # one kind of batch norm alone is no comparison
        judge(checkout / "fashion_mnist" / method, value, accuracies)
        (checkout / "fashion_mnist" / method / "leak.json").write_text(json.dumps(measured))
    assert [line for line in readme.leak().splitlines() if line.startswith("| ")][2:] == [
        "| in groups, keys shuffled | 15.00 | 35.00 | 15.00 | +20.00 | 70.00 | 71.00 |",
        "| plain | 60.00 | 35.00 | 15.00 | +20.00 | 60.00 | 61.00 |",
    ]


def test_the_benchmarks_are_shown_as_they_are(checkout):
    checkout.mkdir(parents=True)
    common = {"command": "bench --all", "hardware": "two cores", "machine_load": 0.3}
    row = {"work": "toil", "ours": "zoo", "peer": "idler", "by": "time", "target": 3.0, "ours_cost": 1.25}
    measured = {"ratio": 2.0, "low": 1.75, "high": 2.25, "rounds": 5, "reached": False}
    rows = [
        {**row, **measured, "peer_cost": 2.5, "of": "arithmetic", "fraction": 0.831},
        {**row, "by": "memory", "target": "level", "missing": "no idler"},
    ]
    point = {"x": 65536, "ms": 8.0, "low": 7.5, "high": 1234.0, "extra_mb": 0.25}
    curve = {"quantity": "queue", "work": "toil", "points": [point, {"x": 9, "missing": "no memory"}]}
    record = {
        "losses": {**common, "ceilings": {"gflop_per_second": 411.2, "gb_per_second": 38.06}, "rows": rows},
        "growth": {**common, "ceilings": {}, "curves": [curve]},
    }
    (checkout / "bench.json").write_text(json.dumps(record))
    lines = readme.benchmarks().splitlines()
    assert lines[0].startswith("On two cores, load 0.3 before the run.") and "bench --all" in lines
    assert "multiplied matrices at 411 GFLOP/s and copied 38.1 GB/s" in lines[0]
    assert lines[4:6] == [
        "| toil | zoo | idler | 1.25 ms | 2.50 ms | 2.00 (1.75-2.25) | 3 | **no** | 83.1 % of arithmetic |",
        "| toil | zoo | idler | 1.25 MB |  | not measured: no idler | level |  |  |",
    ]
    assert "| queue | 65,536 | toil | 8.00 (7.50-1,234) | 0.250 |" in lines
    assert "| queue | 9 | toil | not measured: no memory |  |" in lines
    assert lines.count("bench --all") == 1
    missing = [title for name, title in readme.BENCHES.items() if name != "losses"]
    assert f"Not measured: {'; '.join(missing)}.\n" in readme.benchmarks()
