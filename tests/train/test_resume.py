"""A run that was killed, and one that was not: the same weights, optimizer state and logs, to the last bit."""

import functools
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys

import gin
import numpy as np
import pytest
from reference import workers

from zoo.tools import config

REFERENCE = pathlib.Path(__file__).parent.parent / "reference"
KINDS = ["default", "mirrored", "multi_worker"]
# Four epochs of ten steps. Gently, since steps at a high rate blow up the last bits, in which strategies differ.
SHORT = [
    "loop.run.epochs = 4",
    "loop.Rhythm.save_every = 15",
    "loop.Rhythm.evaluate_every = 25",
    "schedules.WarmupCosine.base = 0.02",
]
KILLED_AT = 23  # between the checkpoints after 15 and 30 steps, and between the records after 20 and 25


def start(kind, workdir, *params, method="simclr", index=0, ports=(), killed_at=None, **options):
    files = [f"--gin_file={REFERENCE / name}.gin" for name in ("tiny", f"tiny_{method}")]
    program = ["-m", "zoo.tools.train"] if killed_at is None else [REFERENCE / "killed.py", str(killed_at)]
    environment = dict(os.environ)
    command = [sys.executable, *program, *files, f"--workdir={workdir}"]
    command += [f"--strategy={kind}", *(f"--gin_param={param}" for param in [*SHORT, *params])]
    command += ["--logical_cpus=2"] if kind == "mirrored" else []
    if kind == "multi_worker":
        cluster = {"worker": [f"localhost:{port}" for port in ports]}
        environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
    log = open(workdir.with_suffix(f".{index}.log"), "a")
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, **options)


def begin(kind, workdir, *params, method="simclr", killed_at=None):
    """All processes of a run; the last is killed after so many steps."""
    if kind != "multi_worker":
        return [start(kind, workdir, *params, method=method, killed_at=killed_at)]
    ports = workers.free_ports(2)
    ends = (None, killed_at)
    return [start(kind, workdir, *params, index=i, ports=ports, killed_at=end) for i, end in enumerate(ends)]


def log_of(workdir, index=0):
    return workdir.with_suffix(f".{index}.log").read_text()


def finish(processes, workdir):
    codes = [process.wait(timeout=280) for process in processes]
    assert codes == [0] * len(codes), "\n".join(log_of(workdir, i)[-3000:] for i in range(len(codes)))


def newest(workdir):
    files = sorted((workdir / "checkpoints").glob("step-*.npz"))
    return files[-1] if files else None


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an uninterrupted run, made when it is first asked for."""
    root = tmp_path_factory.mktemp("whole")

    @functools.cache
    def made(kind, method="simclr"):
        workdir = root / f"{kind}_{method}"
        finish(begin(kind, workdir, method=method), workdir)
        return workdir

    return made


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kind", "method"),
    [("default", "cmc"), ("mirrored", "infomin"), ("multi_worker", "simclr")],
)
def test_a_killed_run_ends_as_an_uninterrupted_one(kind, method, whole, tmp_path):
    whole, broken = whole(kind, method), tmp_path / "broken"
    processes = begin(kind, broken, method=method, killed_at=KILLED_AT)
    assert processes[-1].wait(timeout=280) == -signal.SIGKILL, log_of(broken, len(processes) - 1)[-3000:]
    for survivor in processes[:-1]:  # notices that its peer is gone, says so and leaves
        assert survivor.wait(timeout=120) not in (0, None)
        assert "start all workers again" in log_of(broken)
    assert newest(broken).name == "step-000000015.npz"
    finish(begin(kind, broken, method=method), broken)
    assert "Continuing" in log_of(broken)

    ours, theirs = np.load(newest(broken)), np.load(newest(whole))
    assert newest(broken).name == newest(whole).name and ours.files == theirs.files and len(ours.files) > 20
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert (broken / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    restored, _ = config.restore(broken)
    gin.clear_config()
    assert list(restored.encoders()) == {"cmc": ["joined", "luma", "chroma"]}.get(method, ["image"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_finished_run_is_not_repeated_and_another_configuration_refused(whole, tmp_path):
    workdir = shutil.copytree(whole("default"), tmp_path / "run")
    before = newest(workdir).stat().st_mtime_ns
    finish([start("default", workdir)], workdir)
    assert newest(workdir).stat().st_mtime_ns == before
    assert start("default", workdir, "simclr.SimCLR.temperature = 0.7").wait(timeout=200) == 1
    said = log_of(workdir)
    assert "another workdir" in said and "+simclr.SimCLR.temperature = 0.7" in said and "Traceback" not in said
    assert newest(workdir).stat().st_mtime_ns == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_on_replicas_and_workers_are_the_run_on_one_device(whole):
    """Fifteen steps through the whole loop, its input pipeline included."""
    found = {kind: np.load(whole(kind) / "checkpoints" / "step-000000015.npz") for kind in KINDS}
    for kind in KINDS[1:]:
        moved = 0
        for name in found["default"].files:
            if name != "meta":
                np.testing.assert_allclose(found[kind][name], found["default"][name], atol=1e-4, err_msg=name)
                moved = max(moved, np.abs(found[kind][name]).max())
        assert moved > 0.1
        ours, theirs = (json.loads((whole(k) / "metrics.jsonl").read_text().splitlines()[0]) for k in (kind, "default"))
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_with_different_checkpoints_refuse_to_train(whole, tmp_path):
    folders = [shutil.copytree(whole("default"), tmp_path / "first"), tmp_path / "second"]
    ports = workers.free_ports(2)
    both = [start("multi_worker", f, index=i, ports=ports) for i, f in enumerate(folders)]
    assert [worker.wait(timeout=200) for worker in both] == [1, 1]
    for index, folder in enumerate(folders):
        assert "one folder that all of them share" in log_of(folder, index)


@pytest.mark.slow
def test_a_full_disk_ends_in_plain_words(tmp_path):
    workdir = tmp_path / "run"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))  # noqa: E731, runs in the child
    process = start("default", workdir, preexec_fn=limit)
    assert process.wait(timeout=200) == 1
    assert "could not write" in log_of(workdir) and "Traceback" not in log_of(workdir)
    assert not list(workdir.rglob("*.part"))
