import json
import os

import pytest
import rich.console

from zoo.transfer import results


def row(features="pixels", value=0.5, protocol="knn", labels="all", **fields):
    return results.Row("digits", protocol, labels, features, value, (0.4, 0.6), 500, **fields)


ROWS = [
    row("pixels", 0.9012),
    row("untrained", None, details={"reason": "no record"}),
    row("trained", 0.95),
    row("trained", 0.85, labels="10 per class"),
]


def test_one_line_per_protocol_and_labels():
    heading, lines = results.cells(ROWS)
    assert heading == ["data", "protocol", "labels", "raw pixels", "untrained encoder", "trained encoder"]
    assert lines == [
        ["digits", "knn", "all", "90.12 (40.00-60.00)", "n/a", "95.00 (40.00-60.00)"],
        ["digits", "knn", "10 per class", "n/a", "n/a", "85.00 (40.00-60.00)"],
    ]


def test_both_tables_hold_every_cell():
    console = rich.console.Console(width=160)
    with console.capture() as captured:
        console.print(results.rich_table(ROWS))
    text = results.markdown(ROWS)
    _, lines = results.cells(ROWS)
    for cell in (cell for line in lines for cell in line):
        assert cell in captured.get() and cell in text
    assert text.splitlines()[1] == "| --- | --- | --- | ---: | ---: | ---: |"


def test_two_rows_for_one_cell_are_refused():
    with pytest.raises(ValueError, match="one row per cell. Received: two of digits, knn, all, pixels"):
        results.cells([row(), row()])


def method(trained, pixels=0.5, **fields):
    values = {"pixels": pixels, "untrained": 0.4, "trained": trained}
    return [row(kind, value, **fields) for kind, value in values.items()]


def test_methods_are_compared_under_one_line_of_raw_pixels():
    text = results.compared({"A": method(0.6) + method(0.7, 0.8, protocol="linear"), "B": method(0.9)})
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()] == [
        ["method", "knn", "linear", "knn, untrained", "linear, untrained"],
        ["---", "---:", "---:", "---:", "---:"],
        ["raw pixels", "50.00 (40.00-60.00)", "80.00 (40.00-60.00)", "", ""],
        ["A", "60.00 (40.00-60.00)", "70.00 (40.00-60.00)", "40.00 (40.00-60.00)", "40.00 (40.00-60.00)"],
        ["B", "90.00 (40.00-60.00)", "", "40.00 (40.00-60.00)", ""],
    ]


def test_methods_that_were_judged_otherwise_are_not_compared():
    with pytest.raises(ValueError, match="same data and labels. Received: .*'10 per class'.*'all'"):
        results.compared({"A": method(0.6), "B": method(0.6, labels="10 per class")})
    with pytest.raises(ValueError, match="Received: 50.00 .* and 51.00 .* for raw pixels, knn"):
        results.compared({"A": method(0.6), "B": method(0.6, pixels=0.51)})


def test_what_is_written_is_read(tmp_path):
    path = results.write(tmp_path / "new", ROWS, "zoo-evaluate --model=a")
    assert results.read(tmp_path / "new") == ROWS
    record = json.loads(path.read_text())
    assert record["command"] == "zoo-evaluate --model=a" and "tensorflow" in record["versions"]
    assert os.listdir(tmp_path / "new") == ["results.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    results.write(tmp_path, ROWS)
    before = (tmp_path / "results.json").read_text()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        results.write(tmp_path, ROWS[:1])
    assert (tmp_path / "results.json").read_text() == before
    assert os.listdir(tmp_path) == ["results.json"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.write(tmp_path, [row(value=float("nan"))])


def test_a_card_takes_the_rows_in_place_of_older_ones():
    other = {"data": "digits", "protocol": "knn", "labels": "all", "value": 0.7, "interval": None, "n_seeds": 1}
    published = {**other, "model": "trained", "source": "paper", "command": None}
    measured = {**other, "model": "trained", "source": "ours", "command": None}
    card = {"name": "a", "results": [published, measured]}
    new = results.on_card(card, ROWS, "again")
    assert new["results"][0] == published
    assert [(r["model"], r["labels"], r["value"]) for r in new["results"][1:]] == [
        ("pixels", "all", 0.9012),
        ("trained", "all", 0.95),
        ("trained", "10 per class", 0.85),
    ]
    assert card["results"] == [published, measured]
    assert results.on_card(new, ROWS, "again") == new
    assert results.markdown(results.from_card(new)) == results.markdown([r for r in ROWS if r.value is not None])


def test_rows_are_checked():
    with pytest.raises(
        ValueError,
        match="Row: expected `features` to be one of 'pixels', .* Received: features='raw'",
    ):
        row("raw")
    with pytest.raises(ValueError, match="expected details"):
        row(value=None)


def test_other_metrics_have_a_column_and_are_no_percentages(tmp_path):
    rows = [*ROWS[:1], row("trained", 12.3456, metric="error"), row("trained", 0.5, metric="top5_accuracy")]
    heading, lines = results.cells(rows)
    assert heading[:4] == ["data", "protocol", "labels", "metric"]
    assert [line[3:] for line in lines] == [
        ["accuracy", "90.12 (40.00-60.00)", "n/a", "n/a"],
        ["error", "n/a", "n/a", "12.35 (0.4-0.6)"],
        ["top5_accuracy", "n/a", "n/a", "50.00 (40.00-60.00)"],
    ]
    results.write(tmp_path, rows)
    assert results.read(tmp_path) == rows
    card = results.on_card({"results": []}, rows)
    assert ["metric" in result for result in card["results"]] == [False, True, True]
    assert results.on_card(card, rows) == card
    assert [found.metric for found in results.from_card(card)] == ["accuracy", "error", "top5_accuracy"]
    assert "knn error, untrained" in results.compared({"A": rows})


def test_results_of_before_are_accuracies(tmp_path):
    results.write(tmp_path, ROWS)
    record = json.loads((tmp_path / "results.json").read_text())
    for kept in record["rows"]:
        del kept["metric"]
    (tmp_path / "results.json").write_text(json.dumps(record))
    assert results.read(tmp_path) == ROWS
