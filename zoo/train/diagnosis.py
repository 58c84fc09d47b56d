"""The doctor: names what is wrong with a run, from the scalars that the loop logs, with the change to try.

It knows no method, only names of scalars: those of `info_nce.contrast_logs`, `geometry.measurements`,
`memory.MomentumEncoder.leak`, `watch.view_statistics` and `task.relative_update`. A rule whose scalars a run lacks says
nothing. Data too small for a queue or a bank is refused before the first step, by `memory.MomentumQueue.check` and
`memory.MemoryBank.check_candidates`; a loss that is not finite ends the run.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from zoo import checks
from zoo.train import logs

# Steps after which every run is evaluated and examined, however long its epochs; later, after each evaluation.
ROUNDS = (50, 100, 150, 200)
_RECENT = 50  # steps over which scalars of the training are averaged
_EARLIER = 100  # steps between now and the state that it is compared with

Scalars = Mapping[str, float]


def rounds_after(step: int) -> list[int]:
    """Returns the rounds that are still to come after a number of steps."""
    return [number for number in ROUNDS if number > step]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is wrong with a run.

    Args:
        step: number of steps after which it was seen.
        disease: one of `DISEASES`.
        advice: what was seen, what it means, and the one change to try.
    """

    step: int
    disease: str
    advice: str

    def __str__(self):
        return f"step {self.step}: {self.disease}: {self.advice}"


def wrong_range(now: Scalars, before: Scalars) -> str | None:
    """Judges the extreme pixels of the views.

    Images are in [0, 1]; normalized colors and high frequencies, in about [-1, 1], are the widest that the library
    makes. Beyond 2 are images of 0 to 255, and those that were standardized before the encoder does it.
    """
    low, high = now.get("view_low", 0.0), now.get("view_high", 0.0)
    if -2 <= low and high <= 2:
        return None
    return (
        f"the views have values from {low:.3g} to {high:.3g}, and encoders take images in [0, 1]; scale them in the "
        "step of `view.Chain.steps` that changes the range."
    )


def nearly_constant(now: Scalars, before: Scalars) -> str | None:
    """Judges the spread of the pixels: less than one of 255 gray levels is no picture, as images scaled twice have."""
    spread = now.get("view_spread", 1.0)
    if spread >= 1 / 255:
        return None
    return (
        f"the pixels of a view have a standard deviation of {spread:.2g}, less than one gray level, as of images "
        "that were scaled to [0, 1] and stored as integers, or scaled twice; give `loop.run.data` images of 0 to 255."
    )


def identical_views(now: Scalars, before: Scalars) -> str | None:
    """Judges the two views of an image: equal pixels in equal places.

    Equal embeddings are required, too: towers that take different channels may well share their pixels.
    """
    difference, alignment = now.get("view_difference", 1.0), now.get("alignment", 1.0)
    if difference > 0.01 or alignment > 1e-4:
        return None
    return (
        f"two views of an image differ by {difference:.2g} standard deviations of a pixel, so that there is nothing to "
        "learn; add a random step, such as `geometry.Crop()`, to `view.Chain.steps`."
    )


def learning_rate_too_high(now: Scalars, before: Scalars) -> str | None:
    """Judges how far a step moves the weights.

    Rates of the papers move them by 0.001 to 0.01 of their length at most: LARS by its trust coefficient of 0.001 times
    the rate, 4.8 for SimCLR with 4,096 images, times about 2 for momentum. At 0.05, few dozens of steps replace the
    weights.
    """
    update = now.get("relative_update", 0.0)
    if update <= 0.05:
        return None
    return (
        f"every step moves the weights by {update:.0%} of their length, over {_RECENT} steps; healthy runs stay below "
        f"1 to 3 %. Divide the learning rate, `schedules.WarmupCosine.base`, by ten (now {_rate(now)})."
    )


def batch_leak(now: Scalars, before: Scalars) -> str | None:
    """Judges how much batch statistics reveal which key belongs to a query (He et al., 2019, Section 3.3).

    Healthy runs had 0.03 at most, but for the noise of small groups, whose images are not independent: hence 4 standard
    errors. Plain batch norm over 128 images reveals as little within 200 steps; over 8 images, much.
    """
    leak, error = now.get("batch_leak", 0.0), now.get("batch_leak_error", 0.0)
    if leak <= 0.3 or leak <= 4 * error:
        return None
    return (
        f"normalized with the batch of its query, a key is {math.exp(leak):.2g} times as likely as apart from it, so "
        "that queries find keys by batch statistics; raise `bn_groups` of the method, as in `moco.MoCo.bn_groups = 8`."
    )


def collapsed(now: Scalars, before: Scalars) -> str | None:
    """Judges whether embeddings are one point: a uniformity of 0 (Wang & Isola, 2020), and no better than before.

    An untrained network may map all images to nearly one direction, too, but then they part: the uniformity grows.
    """
    uniformity, earlier = now.get("uniformity", -4.0), before.get("uniformity")
    if earlier is None or uniformity < -0.02 or uniformity < 1.5 * earlier - 0.01:
        return None
    return (
        f"all embeddings are nearly one point (uniformity {uniformity:.2g}, 0 for a point and about -3 for healthy "
        f"ones; effective rank {now.get('effective_rank', 1.0):.2g}), and stay there; give the head batch norm, "
        "`heads.projector.batch_norm = True`, and the method negatives or a predictor and a stopped gradient."
    )


def few_dimensions(now: Scalars, before: Scalars) -> str | None:
    """Judges the effective rank, which is RankMe (Garrido et al., 2023), of embeddings that do spread.

    Embeddings that are spread out, at a uniformity below -1, had ranks of 5 and more in all healthy runs from 50 steps
    on; points on a circle can reach -1.6, and on a sphere -2.1. Below -1 the mean no longer hides the other dimensions,
    as it does in untrained networks and in young runs with a memory bank, whose ranks begin at 2.
    """
    rank, uniformity = now.get("effective_rank", math.inf), now.get("uniformity", 0.0)
    if rank >= 4 or uniformity > -1:
        return None
    return (
        f"the embeddings spread over {rank:.2g} dimensions only (effective rank; 5 and more in healthy runs); widen "
        "the narrowest layer of the head, `heads.projector.widths`."
    )


def at_chance(now: Scalars, before: Scalars) -> str | None:
    """Judges whether the contrastive loss is that of guessing, log(candidates), and does not fall.

    A bank knows nothing of an image before the image's second visit, and so is at chance until then.
    """
    if "contrast_loss" not in before or now.get("num_candidates", 1.0) <= 1 or now.get("bank_visits", 2.0) < 2:
        return None
    candidates, loss, earlier = now["num_candidates"], now["contrast_loss"], before["contrast_loss"]
    chance = math.log(candidates)
    if not 0.98 <= loss / chance <= 1.02 or earlier / chance > 1.02 or earlier - loss > 0.01 * chance:
        return None
    accuracy = now.get("contrast_accuracy", 0.0)
    advice = "make the views milder, such as by a larger `geometry.Crop.area`"
    if accuracy * candidates > 10:
        advice = "the nearest candidates are right more often than by chance, so lower the method's `temperature`"
    elif now.get("relative_update", 1.0) < 1e-4:
        advice = f"raise the learning rate, `schedules.WarmupCosine.base` (now {_rate(now)})"
    return (
        f"the loss stays at {loss:.3g}, that of guessing among {candidates:.0f} candidates is {chance:.3g} (accuracy "
        f"{accuracy:.2%}); {advice}."
    )


@dataclasses.dataclass(frozen=True)
class _Rule:
    """A rule, the first step at which it is applied, and the diseases that a finding explains."""

    disease: str
    judge: Callable[[Scalars, Scalars], str | None]
    since: int
    explains: tuple[str, ...] = ()


_SYMPTOMS = ("collapsed to a point", "collapsed to few dimensions", "at chance")
# Causes first: what a finding explains is not reported.
_RULES = (
    _Rule("wrong range", wrong_range, 1, ("learning rate too high", *_SYMPTOMS)),
    _Rule("nearly constant images", nearly_constant, 1, ("identical views", "learning rate too high", *_SYMPTOMS)),
    _Rule("identical views", identical_views, 1, _SYMPTOMS),
    _Rule("learning rate too high", learning_rate_too_high, 50, ("leak through batch norm", *_SYMPTOMS)),
    _Rule("leak through batch norm", batch_leak, 50),
    _Rule("collapsed to a point", collapsed, 50, _SYMPTOMS),
    _Rule("collapsed to few dimensions", few_dimensions, 50, ("at chance",)),
    _Rule("at chance", at_chance, 150),
)
DISEASES = tuple(rule.disease for rule in _RULES)


def _rate(now):
    return f"{now['learning_rate']:.3g}" if "learning_rate" in now else "unknown"


class Doctor:
    """Examines a run while its records come in; it keeps those of the most recent steps only."""

    def __init__(self) -> None:
        self._training: list[tuple[int, int, Scalars]] = []  # step, number of steps, means over them
        self._evaluations: list[tuple[int, Scalars]] = []
        self._known: set[str] = set()  # diseases that were reported, or explained by one that was

    def see(self, record: Mapping[str, Any]) -> list[Finding]:
        """Takes a record of `metrics.jsonl`, and returns what an evaluation newly shows.

        Args:
            record: scalars and their `step`. Those of the training have a `loss`; others are an evaluation.
        """
        step = int(record["step"])
        scalars = {name: value for name, value in record.items() if name != "step" and checks.is_number(value)}
        if "loss" in record:
            self._training.append((step, step - (self._training[-1][0] if self._training else 0), scalars))
            return []
        self._evaluations.append((step, scalars))
        found = []
        now, before = self._state(step), self._state(step - _EARLIER)
        for rule in _RULES:
            advice = rule.judge(now, before) if step >= rule.since and rule.disease not in self._known else None
            if advice:
                found.append(Finding(step, rule.disease, advice))
                self._known |= {rule.disease, *rule.explains}
        self._forget(step - _EARLIER - _RECENT)
        return found

    def _state(self, step):
        """Returns the scalars at a step: means over the steps before it, and the last evaluation; {} without any."""
        until = [record for record in self._training if record[0] <= step]
        recent = [record for record in until if record[0] > step - _RECENT] or until[-1:]
        count = sum(steps for _, steps, _ in recent)
        means: dict[str, float] = {}
        for _, steps, scalars in recent:
            for name, value in scalars.items():
                means[name] = means.get(name, 0.0) + value * steps / max(count, 1)
        if recent and "learning_rate" in recent[-1][2]:
            means["learning_rate"] = recent[-1][2]["learning_rate"]  # no mean, but that of the last step
        evaluated = [scalars for number, scalars in self._evaluations if number <= step][-1:]
        return {**means, **(evaluated[0] if evaluated else {})}

    def _forget(self, step):
        """Drops the records before a step, but for the last of each kind."""
        for records in (self._training, self._evaluations):
            old = sum(record[0] <= step for record in records)
            del records[: max(old - 1, 0)]


def doctor(history: Any) -> list[Finding]:
    """Returns what is wrong with a run, in the order in which it showed; nothing for a healthy one.

    `zoo-train` reports the same while it trains. Causes hide their consequences: a run that collapses because its
    learning rate is too high has a rate that is too high.

    Args:
        history: workdir of a run, path of a `metrics.jsonl`, the records themselves (mappings with a `step`), or the
            `history.History` of a run in progress.

    Raises:
        ValueError: it is none of these.
    """
    patient = Doctor()
    return [finding for record in _records(history) for finding in patient.see(record)]


def _records(history: Any) -> Iterable[Mapping[str, Any]]:
    """Returns the records of whatever `doctor` takes."""
    expected = "`history` to be the workdir of a run, which has a metrics.jsonl, or records with a `step`"
    history = getattr(history, "workdir", history)
    if isinstance(history, (str, os.PathLike)):
        path = pathlib.Path(history).expanduser()
        path = path / "metrics.jsonl" if path.is_dir() else path
        checks.require(path.is_file(), "doctor", expected, history=str(history))
        history = logs.read(path)
    valid = isinstance(history, Iterable) and not isinstance(history, Mapping)
    records = list(history) if valid else []
    valid = valid and all(
        isinstance(record, Mapping) and checks.is_integer(record.get("step"), 0) for record in records
    )
    checks.require(valid, "doctor", expected, history=history)
    return records
