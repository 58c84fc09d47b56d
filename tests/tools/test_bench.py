import ast
import importlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from zoo.tools import bench, readme
from zoo.tools.benches import ceilings, growth, learners, methods, runner, training, worker
from zoo.tools.benches.peers import inputs

TOY = """
import os, pathlib

def told(name, log, found=1.0, wrong=None):
    def run():
        with open(log, "a") as file:
            file.write(name)
        return found
    return run, lambda result: [result]

def needing():
    import no_such_package

def dying():
    calls = []
    def run():
        calls.append(0)
        if len(calls) > 2:
            os._exit(3)
    return run, None

def greedy(megabytes):
    return lambda: bytes(range(256)) * (megabytes * 4096), None
"""


@pytest.fixture
def toy(tmp_path):
    """Makes candidates of toy functions."""
    (tmp_path / "toy.py").write_text(TOY)

    def candidate(name, function="told", place=None, skip="", **settings):
        settings = {"name": name, "log": str(tmp_path / "log"), **settings} if function == "told" else settings
        return runner.Candidate(name, str(tmp_path / "toy.py"), function, settings, place, skip)

    return candidate


def group(*candidates, **settings):
    pairs = tuple(runner.Pair(candidates[0].name, each.name) for each in candidates[1:])
    return runner.Group(**{"work": "toil", "candidates": candidates, "pairs": pairs, **settings})


def test_candidates_take_turns(toy, tmp_path):
    found, _ = runner.measured(group(toy("a"), toy("b"), repeat=2), tmp_path, 3)
    assert (tmp_path / "log").read_text() == "ab" + "ab" + 3 * "aabb"  # the first, to warm up, the rounds
    assert {name: len(each["wall"]) for name, each in found.items()} == {"a": 3, "b": 3}
    (row,) = runner.rows(group(toy("a"), toy("b")), found)
    assert row["rounds"] == 3 and row["low"] <= row["ratio"] <= row["high"] and row["reached"] is None


def test_what_is_missing_is_said(toy, tmp_path):
    gone = (
        toy("uninstalled", place="nowhere"),
        toy("broken", "needing"),
        toy("dies", "dying"),
        toy("left out", skip="this CPU cannot"),
    )
    measured = group(toy("a"), *gone)
    found, _ = runner.measured(measured, tmp_path, 2)
    rows = {row["peer"]: row for row in runner.rows(measured, found)}
    assert "run tools/peers" in rows["uninstalled"]["missing"]
    assert rows["broken"]["missing"] == "ModuleNotFoundError: No module named 'no_such_package'"
    assert "without an answer" in rows["dies"]["missing"]
    assert rows["left out"]["missing"] == "this CPU cannot"
    assert all("ratio" not in row and "ours_cost" in row and "peer_cost" not in row for row in rows.values())


def test_candidates_that_find_something_else_are_an_error(toy, tmp_path):
    runner.measured(group(toy("a"), toy("b", found=1.0001), agree=1e-3), tmp_path, 1)
    with pytest.raises(ValueError, match="expected 'b' and 'a' to find the same in 'toil', to 0.001. Received: .1.01"):
        runner.measured(group(toy("a"), toy("b", found=1.01), agree=1e-3), tmp_path, 1)


def test_memory_is_what_the_work_takes(toy, tmp_path):
    measured = group(toy("small", "greedy", megabytes=20), toy("large", "greedy", megabytes=100))
    found, _ = runner.measured(measured, tmp_path, 1)
    assert 19 <= found["small"]["extra_mb"] < 40 and 99 <= found["large"]["extra_mb"] < 120


def test_what_needs_more_memory_than_there_is_fails_alone(toy, tmp_path):
    greedy = runner.Worker(toy("greedy", "greedy", megabytes=2000), tmp_path, limit=1000)
    assert greedy.ask("first")["missing"].startswith("MemoryError") and greedy.ask("peak")["missing"]


@pytest.mark.parametrize(
    ("target", "ratios", "wanted"),
    [
        (None, (1, 1, 1), None),
        (2.0, (1.9, 2.0, 2.5), True),
        (2.0, (1.9, 1.99, 2.5), False),
        (runner.LEVEL, (0.8, 0.9, 1.3), True),
        (runner.LEVEL, (0.8, 0.9, 0.97), False),
    ],
)
def test_targets(target, ratios, wanted):
    ours = {"wall": [1.0, 1.0, 1.0], "cpu": [2.0, 2.0, 2.0], "extra_mb": 10.0}
    peer = {"wall": list(ratios), "cpu": [8.0, 8.0, 8.0], "extra_mb": 25.0}
    pairs = tuple(runner.Pair("ours", "peer", by, target) for by in ("time", "CPU time", "memory"))
    measured = runner.Group("toil", (), pairs, flop=3e9)
    time, cpu, memory = runner.rows(measured, {"ours": ours, "peer": peer}, 6e9)
    assert (time["ratio"], time["reached"], time["fraction"]) == (pytest.approx(ratios[1]), wanted, 0.5)
    assert (cpu["ratio"], cpu["ours_cost"], memory["ratio"], memory["peer_cost"]) == (4.0, 2000.0, 2.5, 25.0)
    assert "fraction" not in memory


def parameters(candidate):
    """What a candidate's function takes, read from its source: names, and those without a default."""
    if candidate.source.endswith(".py"):
        path = runner.HERE / "peers" / candidate.source
    else:
        path = runner.HERE / f"{candidate.source.rpartition('.')[2]}.py"
    tree = ast.parse(path.read_text())
    (made,) = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == candidate.function]
    names = [each.arg for each in made.args.args]
    return set(names), set(names[: len(names) - len(made.args.defaults)])


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("topic", bench.TOPICS)
def test_every_topic_names_what_there_is(topic, quick):
    module, function = bench.TOPICS[topic]
    for each in getattr(importlib.import_module(f"zoo.tools.benches.{module}"), function)(quick):
        names = [candidate.name for candidate in each.candidates]
        assert len(set(names)) == len(names)
        assert {name for pair in each.pairs for name in (pair.ours, pair.peer)} <= set(names)
        for candidate in each.candidates:
            known, needed = parameters(candidate)
            assert candidate.skip or needed <= set(candidate.settings) <= known, candidate
            assert candidate.place in (None, *bench.ENVIRONMENTS)


def test_readme_shows_every_topic():
    assert {*readme.BENCHES, "growth"} == set(bench.TOPICS)


def test_peers_need_nothing_of_ours():
    for path in (runner.HERE / "peers").glob("*.py"):
        assert (
            "zoo"
            not in {
                name.name.split(".")[0]
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Import)
                for name in node.names
            }
            and "from zoo" not in path.read_text()
        )
    script = (readme.ROOT / "tools" / "peers").read_text()
    assert all(f"\npeer {name} " in script for name in bench.ENVIRONMENTS)


def test_both_sides_choose_among_the_same_penalties():
    from zoo.transfer import linear

    source = (runner.HERE / "peers" / "sklearn_probes.py").read_text()
    assert eval(source.partition("\nPENALTIES = ")[2].partition("\n")[0]) == pytest.approx(linear.PENALTIES)


def test_operations_of_the_networks():
    """Against the numbers that torchvision publishes: 1.81 and 4.09 thousand million multiplications at 224²."""
    assert training.flop("resnet18", 224, 1) / 2e9 == pytest.approx(1.814, rel=2e-3)
    assert training.flop("resnet50", 224, 2) / 4e9 == pytest.approx(4.089, rel=2e-3)


@pytest.mark.parametrize(("name", "size"), [("resnet18", 16), ("resnet50", 64)])
def test_our_networks_take_the_weights_of_the_peers(name, size):
    from zoo.tools.benches import weights

    network, values = weights.resnet(name, size), inputs.resnet(name, size < 64)
    assert network.count_params() == sum(value.size for value in values.values())
    layer = network.get_layer("conv3_block1_0_conv")
    assert (layer.kernel.numpy().transpose(3, 2, 0, 1) == values["layer2.0.downsample.0.weight"]).all()


def through(values, rows):
    """Outputs of torch's `Sequential` of these weights in evaluation: dense layers, batch norms and ReLUs."""
    for dense in range(0, 3 * sum(value.ndim == 2 for value in values.values()), 3):
        rows = rows @ values[f"{dense}.weight"].T + values.get(f"{dense}.bias", 0)
        if f"{dense + 1}.running_mean" in values:
            part = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{dense + 1}.")}
            rows = (rows - part["running_mean"]) / np.sqrt(part["running_var"] + 1e-5)
            rows = rows * part.get("weight", 1) + part.get("bias", 0)
        rows = np.maximum(rows, 0) if f"{dense + 3}.weight" in values else rows
    return rows


@pytest.mark.parametrize("method", inputs.HEADS)
def test_our_heads_compute_what_torch_makes_of_the_same_weights(method):
    for name, made in inputs.HEADS[method].items():
        features = made.widths[-1] if name == "predictor" else 64
        network, values = getattr(learners, name)(features, made), inputs.head(name, features, made)
        rows = inputs.unit(5, features)
        fixed = made.widths[-1] if made.final_norm == "scale" else 0  # the bias of torch's last batch norm, of zeros
        assert network.count_params() == sum(value.size for value in values.values()) - fixed
        np.testing.assert_allclose(network(rows).numpy(), through(values, rows), rtol=1e-3, atol=1e-4)


def test_sinkhorn_may_take_a_twentieth_of_a_step():
    (group,) = [made for made in methods.groups(False) if "Sinkhorn" in made.work]
    whole, share = group.candidates[2], group.pairs[1]
    assert share.peer == whole.name
    assert group.candidates[0].settings["batch"] / whole.settings["batch"] * share.target == pytest.approx(20)


def test_memory_of_a_process():
    assert 0 < bench.held("VmRSS") <= bench.held("VmHWM", os.getpid()) and bench.held is worker.held


def test_growth_is_drawn_small_and_the_same_every_time(tmp_path):
    points = [{"x": x, "ms": x * 0.1, "low": 0.1, "high": 9.0, "extra_mb": x / 3} for x in (1, 10, 100)]
    curves = [{"quantity": name, "work": "toil", "points": [*points, {"x": 7, "missing": "no"}]} for name in "ab"]
    for place in ("a.svg", "b.svg"):
        growth.draw(curves, tmp_path / place)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.svg").stat().st_size < 200_000


def test_the_program_keeps_the_topics_that_it_is_not_asked_for(tmp_path):
    out = tmp_path / "bench.json"
    out.write_text(json.dumps({"views": {"rows": []}}))
    command = [sys.executable, "-m", "zoo.tools.bench", "--quick", "--topics=start", f"--out={out}"]
    subprocess.run([*command, f"--peers={tmp_path}"], check=True, capture_output=True, timeout=120)
    record = json.loads(out.read_text())
    assert list(record) == ["views", "start"]
    start = record["start"]
    assert start["command"].startswith("zoo-bench --topics=start") and str(tmp_path) not in start["hardware"]
    assert start["ceilings"] == {} and "keras" in start["versions"]
    (row,) = start["rows"]
    assert {"work", "ours", "peer", "by", "target", "ratio", "low", "high", "rounds", "reached"} <= set(row)


def test_ceilings_take_turns_and_the_best_counts(toy, tmp_path):
    workers = [runner.Worker(toy("c"), tmp_path)]
    _, least = runner.measured(group(toy("a")), tmp_path, 2, workers)
    workers[0].end()
    assert (tmp_path / "log").read_text() == "aa" + 2 * "ca" and 0 < least["c"] < 1
    assert bench._rates({"arithmetic": 6.0, "copying": 8.0}, {"arithmetic": 2.0}) == [3.0, None]


def test_ceilings_run():
    assert ceilings.arithmetic("float32", 8)[0]() is not None
    assert ceilings.copying(1)[0]()


def test_an_unknown_topic_is_refused():
    command = [sys.executable, "-m", "zoo.tools.bench", "--topics=lunch"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "expected --topics among training," in done.stderr


def test_the_tables_are_small():
    for path in pathlib.Path(readme.ROOT / "saved_models" / "tables").glob("*.*"):
        assert path.stat().st_size < 200_000, path
