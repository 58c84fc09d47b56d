"""Runs the candidates of a benchmark in turns, A B C A B C, and makes a row for every compared pair."""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys

import numpy as np

from zoo.tools import config

HERE = pathlib.Path(__file__).resolve().parent
LEVEL = "level"  # a target: the upper quartile of the ratio is at least 1
UNITS = {"time": "ms", "CPU time": "ms", "memory": "MB"}
_SPARE_MB = 1500  # memory left to other processes


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to do the work.

    Args:
        name: name in the rows of the table.
        source: name of a module of the zoo, or of a file of `peers`.
        function: name of the function in it, see `worker`.
        settings: arguments of the function.
        place: folder of the peer's environment; None for this environment.
        skip: reason why this machine cannot measure it; empty if it can.
    """

    name: str
    source: str
    function: str
    settings: dict = dataclasses.field(default_factory=dict)
    place: str | None = None
    skip: str = ""


@dataclasses.dataclass(frozen=True)
class Pair:
    """A row of the table: the ratio of a peer's cost to the zoo's.

    Args:
        ours: name of the zoo's candidate.
        peer: name of the peer's candidate.
        by: "time", "CPU time" or "memory".
        target: the minimum ratio to reach, `LEVEL`, or None.
    """

    ours: str
    peer: str
    by: str = "time"
    target: float | str | None = None


@dataclasses.dataclass(frozen=True)
class Group:
    """Candidates that take turns at the same work.

    Args:
        work: description of the work.
        candidates: a tuple of `Candidate`.
        pairs: a tuple of `Pair`.
        agree: tolerance, relative and absolute, within which results must agree; None to skip the check.
        count: number of images, views or rows in a run.
        repeat: number of runs in a round.
        flop: minimum number of floating-point operations in a run, or None.
        moved: minimum number of bytes that a run reads and writes, or None.
        rounds: maximum number of rounds, for long work.
        limited: whether a candidate fails if it needs more memory than the machine has available.
        onednn: whether TensorFlow uses oneDNN's kernels on every CPU, as in zoo-train and zoo-evaluate.
    """

    work: str
    candidates: tuple
    pairs: tuple
    agree: float | None = None
    count: int = 1
    repeat: int = 1
    flop: float | None = None
    moved: float | None = None
    rounds: int | None = None
    limited: bool = False
    onednn: bool = True


class Worker:
    """The process of a candidate.

    Args:
        candidate: a `Candidate`.
        peers: folder of the peers' environments.
        limit: maximum memory in MB, or None.
        onednn: as for `Group`.
    """

    def __init__(self, candidate, peers, limit=None, onednn=True):
        self.name, self.missing, self._process = candidate.name, candidate.skip, None
        python = pathlib.Path(peers) / candidate.place / "bin" / "python" if candidate.place else sys.executable
        if candidate.place and not python.exists():
            self.missing = f"no environment {candidate.place!r}: run tools/peers"
        if self.missing:
            return
        source = str(HERE / "peers" / candidate.source) if candidate.source.endswith(".py") else candidate.source
        settings = {**candidate.settings, **({"limit_mb": limit} if limit else {})}
        command = [str(python), str(HERE / "worker.py"), source, candidate.function, json.dumps(settings)]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
        if onednn:
            config.use_onednn(environment)
        quiet = None if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, text=True, env=environment
        )
        self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"missing": "it ended without an answer, perhaps for want of memory"}
        if "missing" in answer:
            self.missing = answer["missing"]
            self.end()
        return answer

    def ask(self, request):
        """Returns the answer to a request, `{"missing": reason}` from a worker that has failed."""
        if self.missing:
            return {"missing": self.missing}
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer reports the failure
        return self._answer()

    def end(self):
        """Ends the process."""
        if self._process is None:
            return
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def spare():
    """Returns the memory that a worker may take, in MB."""
    text = pathlib.Path("/proc/meminfo").read_text()
    return int(text.partition("MemAvailable:")[2].split()[0]) / 1024 - _SPARE_MB


def compared(group, checks):
    """Raises ValueError if the candidates' results differ.

    Args:
        group: a `Group`.
        checks: results of the candidates that did not fail, by name.
    """
    if group.agree is None or not checks:
        return
    first, *others = checks
    wanted = np.array(checks[first])
    for name in others:
        found = np.array(checks[name])
        if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=group.agree, atol=group.agree):
            raise ValueError(
                f"bench: expected {name!r} and {first!r} to find the same in {group.work!r}, to {group.agree:g}. "
                f"Received: {[float(f'{value:.7g}') for value in found[:8]]} and "
                f"{[float(f'{value:.7g}') for value in wanted[:8]]}."
            )


def measured(group, peers, rounds, ceilings=()):
    """Measures the costs of every candidate of a group.

    Args:
        group: a `Group`.
        peers: folder of the peers' environments.
        rounds: number of rounds.
        ceilings: further workers that take turns, which measure the speed of the machine.

    Returns:
        Name -> `{"wall": [...], "cpu": [...], "extra_mb": ..., "first": ...}` or `{"missing": reason}`; and for the
        ceilings name -> the minimum of the wall seconds.
    """
    rounds = min(rounds, group.rounds or rounds)
    found, workers, checks, least = {}, [], {}, {}
    try:
        for candidate in group.candidates:
            worker = Worker(candidate, peers, spare() if group.limited else None, group.onednn)
            workers.append(worker)
            first = worker.ask("first")
            found[worker.name] = {"wall": [], "cpu": [], "first": first.get("seconds")}
            if first.get("check") is not None:
                checks[worker.name] = first["check"]
        compared(group, checks)
        for worker in workers:
            worker.ask("round 1")  # some candidates compile once more at their second call
        for _ in range(rounds):
            for ceiling in ceilings:
                wall = ceiling.ask("round 1").get("wall", float("inf"))
                least[ceiling.name] = min(wall, least.get(ceiling.name, wall))
            for worker in workers:
                answer = worker.ask(f"round {group.repeat}")
                if "wall" in answer:
                    found[worker.name]["wall"].append(answer["wall"])
                    found[worker.name]["cpu"].append(answer["cpu"])
        for worker in workers:
            found[worker.name]["extra_mb"] = worker.ask("peak").get("extra_mb")
            if worker.missing:
                found[worker.name] = {"missing": worker.missing}
    finally:
        for worker in workers:
            worker.end()
    return found, least


def _digits(value, digits=4):
    return float(f"{value:.{digits}g}")


def _ratios(ours, peer, by):
    if by == "memory":
        # The measurement is accurate to about a megabyte.
        return [max(peer["extra_mb"], 1.0) / max(ours["extra_mb"], 1.0)]
    key = "cpu" if by == "CPU time" else "wall"
    return [peer_cost / cost for cost, peer_cost in zip(ours[key], peer[key], strict=True)]


def _cost(found, by):
    if by == "memory":
        return found["extra_mb"]
    return 1000 * statistics.median(found["cpu" if by == "CPU time" else "wall"])


def reached(target, median, high):
    """Returns whether a ratio reaches its target; None without a target."""
    if target is None:
        return None
    return bool(high >= 1) if target == LEVEL else bool(median >= target)


def rows(group, found, peak=None, copied=None):
    """Returns the rows of a group.

    Args:
        group: a `Group`.
        found: the result of `measured`.
        peak: maximum operations per second of the machine, or None.
        copied: maximum bytes per second that the machine reads and writes when it copies, or None.
    """
    made = []
    for pair in group.pairs:
        row = {"work": group.work, "ours": pair.ours, "peer": pair.peer, "by": pair.by, "target": pair.target}
        ours, peer = found[pair.ours], found[pair.peer]
        for side, costs in (("ours_cost", ours), ("peer_cost", peer)):
            if "missing" not in costs:
                row[side] = _digits(_cost(costs, pair.by))
        if "missing" in ours or "missing" in peer:
            # A reason that both share, such as an unsuitable machine, is given once.
            reasons = dict.fromkeys(costs["missing"] for costs in (ours, peer) if "missing" in costs)
            made.append({**row, "missing": "; ".join(reasons)})
            continue
        ratios = _ratios(ours, peer, pair.by)
        low, middle, high = np.percentile(ratios, (25, 50, 75))
        row |= {"ratio": _digits(middle), "low": _digits(low), "high": _digits(high), "rounds": len(ratios)}
        row |= {"reached": reached(pair.target, middle, high), "agree": group.agree, "count": group.count}
        seconds = statistics.median(ours["wall"])
        if pair.by != "memory" and group.flop and peak:
            row |= {"of": "arithmetic", "fraction": _digits(group.flop / seconds / peak, 3)}
        elif pair.by != "memory" and group.moved and copied:
            row |= {"of": "copying", "fraction": _digits(group.moved / seconds / copied, 3)}
        made.append(row)
    return made
