"""The doctor on sick runs, one for each disease, and on healthy ones; `pytest -s` prints what it said, and when."""

import dataclasses
import functools
import json
import re
import types

import numpy as np
import pytest
from keras import ops

import zoo
from zoo.data import sources
from zoo.methods import insdis, moco, networks, simclr
from zoo.methods import method as methods
from zoo.models import convnet, heads
from zoo.objectives import geometry as measures
from zoo.train import diagnosis, loop, schedules, task, watch
from zoo.views import color, geometry, view

JITTER = view.Sometimes(color.Jitter(0.5), 0.8)
CROP = view.Chain((geometry.Crop(area=(0.3, 1.0)),))
PAIR = view.Views((CROP, CROP))
LINEAR = functools.partial(heads.projector, widths=(32,), batch_norm=False, use_bias=True)


def encoder(image_shape):
    return convnet.convnet(image_shape, (16, 32), depth=1)


def head(*widths):
    return functools.partial(heads.projector, widths=widths)


def sim_clr(temperature=0.2, projector=None):
    return functools.partial(simclr.SimCLR, encoder, projector or head(64, 32), temperature)


def mo_co(projector=LINEAR, queue_size=512, **changes):
    return functools.partial(moco.MoCo, encoder, projector, queue_size=queue_size, momentum=0.99, **changes)


class Aligned(methods.Method):
    """Pulls the views of an image together, and pushes nothing apart."""

    def begin(self, spec):
        self.embedder = networks.Embedder(encoder, LINEAR, spec.view_shapes[0])

    def contrast(self, batch, step):
        a, b = (self.embedder(view, training=True) for view in batch.views)
        return ops.sum(ops.square(a - b), axis=1), {}, ()

    def watch(self, batch):
        return measures.measurements(*(self.embedder(view) for view in batch.views))

    def encoders(self):
        return {"image": self.embedder.encoder}


@dataclasses.dataclass(frozen=True)
class Scaled(view.View):
    """Pixels times a factor."""

    factor: float
    final = True

    def apply(self, images, drawn):
        return images * self.factor


def with_last(step):
    return view.Views((view.Chain((*CROP.steps, step)),) * 2)


def run(workdir, method, steps=200, **changes):
    """Trains on 640 digits for some steps, and returns what the doctor says."""
    arguments = {
        "views": PAIR,
        "data": sources.load("digits", "train[:640]"),
        "schedule": schedules.WarmupCosine(changes.pop("rate", 1.0), "none", changes.pop("warmup_epochs", 2)),
        "batch_size": 64,
        "rhythm": loop.Rhythm(log_every=50, evaluate_every=50, save_every=200),
        **changes,
    }
    epochs = steps * arguments["batch_size"] / 640
    loop.run(method, workdir=workdir, epochs=epochs, **arguments)
    found = zoo.train.doctor(workdir)
    print(f"\n{workdir.name}: " + ("; ".join(map(str, found)) or f"nothing in {steps} steps"), end="")
    return found


SAME = view.Chain((geometry.Crop(area=(1.0, 1.0), aspect=(1.0, 1.0)),))
WEAK = view.Chain((JITTER,))
SICK = {  # disease: method, number of steps, what else differs from a healthy run
    "wrong range": (sim_clr(), 50, {"views": with_last(Scaled(255.0))}),
    "nearly constant images": (sim_clr(), 50, {"views": with_last(Scaled(1 / 255))}),
    "identical views": (sim_clr(), 50, {"views": view.Views((SAME, SAME))}),
    "learning rate too high": (sim_clr(), 50, {"rate": 60.0}),
    "leak through batch norm": (
        mo_co(head(64, 32), bn_groups=1),
        200,
        {"batch_size": 8, "views": view.Views((WEAK, WEAK)), "warmup_epochs": 0.5},
    ),
    "collapsed to a point": (Aligned, 150, {}),
    "collapsed to few dimensions": (sim_clr(projector=head(64, 2)), 100, {}),
    "at chance": (sim_clr(10.0), 200, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("disease", SICK)
def test_a_sick_run_is_named(tmp_path, disease, caplog):
    method, steps, changes = SICK[disease]
    found = run(tmp_path / disease, method, steps, **changes)
    assert [finding.disease for finding in found] == [disease] and found[0].step <= 200
    said = [record.getMessage() for record in caplog.records if "doctor" in record.getMessage()]
    assert said == [f"The doctor at {found[0]}"] and "\n" not in said[0]


HEALTHY = {
    "simclr": (sim_clr(), {}),
    "simclr, temperature 0.07": (sim_clr(0.07), {"seed": 1}),
    "moco": (mo_co(), {}),
    "moco v2": (mo_co(head(64, 32), temperature=0.2), {"seed": 1}),
    "insdis": (functools.partial(insdis.InsDis, encoder, LINEAR, num_candidates=512), {"views": view.Views((CROP,))}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_said_of_a_healthy_run(tmp_path, name):
    method, changes = HEALTHY[name]
    assert run(tmp_path / name, method, **changes) == []


def test_a_queue_longer_than_the_data_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(ValueError, match="MomentumQueue: expected `size` of at most 576; .*Received: size=640"):
        run(tmp_path, mo_co(queue_size=640))
    assert not (tmp_path / "metrics.jsonl").exists()


HEALTHY_STATE = {
    "view_low": 0.0,
    "view_high": 1.0,
    "view_spread": 0.3,
    "view_difference": 0.9,
    "alignment": 0.5,
    "uniformity": -2.5,
    "effective_rank": 20.0,
    "relative_update": 0.002,
    "batch_leak": 0.01,
    "batch_leak_error": 0.01,
    "contrast_loss": 3.0,
    "num_candidates": 255.0,
    "contrast_accuracy": 0.2,
    "learning_rate": 0.3,
}
CHANCE = {"contrast_loss": float(np.log(255)), "contrast_accuracy": 0.004}
# Rule, what differs now and before, and a part of what is said, None for nothing.
CASES = [
    (diagnosis.wrong_range, {"view_high": 255.0}, {}, "from 0 to 255"),
    (diagnosis.wrong_range, {"view_low": -2.1}, {}, "from -2.1 to 1"),
    (diagnosis.wrong_range, {"view_low": -1.0}, {}, None),
    (diagnosis.nearly_constant, {"view_spread": 0.002}, {}, "0.002"),
    (diagnosis.nearly_constant, {"view_spread": 0.02}, {}, None),
    (diagnosis.identical_views, {"view_difference": 0.0, "alignment": 0.0}, {}, "nothing to learn"),
    (diagnosis.identical_views, {"view_difference": 0.0}, {}, None),  # towers of different channels
    (diagnosis.identical_views, {"alignment": 0.0}, {}, None),  # a collapsed encoder
    (diagnosis.learning_rate_too_high, {"relative_update": 0.08}, {}, "8% .*WarmupCosine.base.*now 0.3"),
    (diagnosis.learning_rate_too_high, {"relative_update": 0.03}, {}, None),
    (diagnosis.batch_leak, {"batch_leak": 0.7}, {}, "2 times.*bn_groups"),
    (diagnosis.batch_leak, {"batch_leak": 0.7, "batch_leak_error": 0.3}, {}, None),
    (diagnosis.collapsed, {"uniformity": -1e-3}, {"uniformity": -1e-3}, "one point"),
    (diagnosis.collapsed, {"uniformity": 0.0}, {"uniformity": -2.0}, "one point"),
    (diagnosis.collapsed, {"uniformity": -0.019}, {"uniformity": -0.002}, None),  # still spreading
    (diagnosis.few_dimensions, {"effective_rank": 2.0}, {}, "2 dimensions"),
    (diagnosis.few_dimensions, {"effective_rank": 2.0, "uniformity": -0.9}, {}, None),  # the mean hides others
    (diagnosis.at_chance, CHANCE, CHANCE, "milder"),
    (diagnosis.at_chance, {**CHANCE, "relative_update": 1e-5}, CHANCE, "raise the learning rate"),
    (diagnosis.at_chance, {**CHANCE, "contrast_accuracy": 0.2}, CHANCE, "temperature"),
    (diagnosis.at_chance, {**CHANCE, "bank_visits": 1.0}, CHANCE, None),
    (diagnosis.at_chance, CHANCE, {**CHANCE, "contrast_loss": 5.7}, None),  # falling
    (diagnosis.at_chance, {"contrast_loss": 5.0}, CHANCE, None),
]


@pytest.mark.parametrize(("rule", "now", "before", "advice"), CASES)
def test_every_rule_on_both_sides_of_its_threshold(rule, now, before, advice):
    said = rule({**HEALTHY_STATE, **now}, {**HEALTHY_STATE, **before})
    assert said is None if advice is None else re.search(advice, said)


@pytest.mark.parametrize("rule", diagnosis._RULES, ids=lambda rule: rule.disease)
def test_no_rule_speaks_of_a_healthy_state_or_without_its_scalars(rule):
    assert rule.judge(HEALTHY_STATE, HEALTHY_STATE) is None and rule.judge({}, {}) is None
    assert set(rule.explains) <= set(diagnosis.DISEASES)


def records(every, steps, **changes):
    """Records of a run whose scalars are those of a healthy one but for some."""
    state = {**HEALTHY_STATE, **changes}
    watched = {name: state[name] for name in ("view_low", "view_high", "uniformity", "effective_rank", "alignment")}
    training = {name: value for name, value in state.items() if name not in watched}
    for step in range(every, steps + 1, every):
        yield {"step": step, "loss": 1.0, **training}
        yield {"step": step, **watched}


@pytest.mark.parametrize("every", [5, 50])
def test_a_finding_is_reported_once_and_hides_its_consequences(every):
    found = diagnosis.doctor(list(records(every, 400, uniformity=0.0, **CHANCE)))
    assert [(finding.disease, finding.step) for finding in found] == [("collapsed to a point", 100 + every)]
    assert diagnosis.doctor(list(records(every, 400))) == []


def test_a_history_is_read_from_the_workdir_the_file_or_records(tmp_path):
    lines = list(records(50, 200, view_high=255.0))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 20')
    expected = zoo.train.doctor(lines)
    assert [str(finding)[:20] for finding in expected] == ["step 50: wrong range"]
    for history in (tmp_path, str(tmp_path), tmp_path / "metrics.jsonl", types.SimpleNamespace(workdir=tmp_path)):
        assert zoo.train.doctor(history) == expected


@pytest.mark.parametrize("history", [None, 3, "no/such/run", {"step": 1}, [1, 2], [{"loss": 1.0}], [{"step": "x"}]])
def test_refuses_what_is_no_history(history):
    with pytest.raises(ValueError, match="doctor: expected `history` to be the workdir of a run.* Received: history="):
        zoo.train.doctor(history)


def test_the_statistics_of_views():
    a, b = np.zeros((2, 4, 4, 1), "float32"), np.ones((2, 4, 4, 1), "float32")
    a[:, :2] = 1
    found = {
        name: float(value) for name, value in watch.view_statistics([ops.convert_to_tensor(z) for z in (a, b)]).items()
    }
    assert found == {"view_low": 0, "view_high": 1, "view_spread": 0, "view_difference": pytest.approx(0.5 / 0.5)}
    assert watch.view_statistics([]) == {}
    assert "view_difference" not in watch.view_statistics([ops.convert_to_tensor(z) for z in (a, b[:, :2])])


def test_the_relative_update():
    before, after = [np.full((3, 3), 2.0)], [np.full((3, 3), 2.2)]
    tensors = [[ops.convert_to_tensor(z.astype("float32")) for z in values] for values in (before, after)]
    assert float(task.relative_update(*tensors)) == pytest.approx(0.1, rel=1e-5)
