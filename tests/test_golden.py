"""The golden files of `tests/golden` hold what every run is and computes; a changed default does not pass unseen."""

import copy
import inspect

import pytest
from golden import compare, runs

from zoo.methods import byol, cmc, exemplar, insdis, moco, pirl, sup_con, swav
from zoo.models import convnet, heads, norm, resnet
from zoo.objectives import info_nce
from zoo.train import loop, optimizers, schedules
from zoo.views import color, geometry, randaugment

ADVICE = "if it is meant to be so, write the golden files anew: python -m tests.golden"
# A run of each kind; to take the first steps of the others in TRAINED is left to the slow tests.
FAST = ("cmc_2_scenes", "moco_fashion_mnist", "simclr_digits")
# Defaults in signatures: function or class, parameter, another value, a run that leaves it at the default.
DEFAULTS = [
    (moco.MoCo, "temperature", 0.1, "moco_fashion_mnist"),
    (cmc.CMC, "pairs", "core", "cmc_4_scenes"),
    (pirl.PIRL, "jigsaw_weight", 0.4, "pirl_fashion_mnist"),
    (moco.MoCo, "bn_groups", 4, "moco_v2_fashion_mnist"),
    (insdis.InsDis, "bank_momentum", 0.4, "insdis_fashion_mnist"),
    (insdis.InsDis, "num_candidates", 2048, "insdis_fashion_mnist"),
    (exemplar.Exemplar, "positives", "class", "exemplar_digits"),
    (swav.SwAV, "queue_size", 4096, "swav_imagenet"),
    (byol.BYOL, "momentum", 0.99, "byol_imagenet"),
    (sup_con.SupCon, "temperature", 0.07, "sup_con_imagenet"),
    (heads.predictor, "final_norm", True, "byol_fashion_mnist"),
    (resnet.resnet50, "padding", "simclr", "moco_v2_imagenet"),
    (norm.BatchNorm, "epsilon", 1e-3, "simclr_digits"),
    (norm.BatchNorm, "momentum", 0.99, "simclr_digits"),
    (convnet.convnet, "pooling", "max", "simclr_fashion_mnist"),
    (heads.projector, "use_bias", True, "simclr_digits"),
    (optimizers.LARS, "momentum", 0.95, "simclr_digits"),
    (optimizers.LARS, "weight_decay", 1e-4, "simclr_openclipart"),
    (optimizers.LARS, "trust_coefficient", 0.01, "simclr_digits"),
    (optimizers.LARS, "adapted", "all", "byol_fashion_mnist"),
    (optimizers.LARS, "rate_in_momentum", False, "simclr_digits"),
    (schedules.WarmupCosine, "warmup_epochs", 5, "simclr_digits"),
    (schedules.Steps, "epochs", (100, 150), "moco_imagenet"),
    (loop.run, "seed", 1, "simclr_digits"),
    (color.Jitter, "strength", 0.5, "moco_fashion_mnist"),
    (geometry.Crop, "aspect", (0.5, 2.0), "cmc_openclipart"),
    (geometry.Flip, "probability", 0.0, "simclr_fashion_mnist"),
    (randaugment.RandAugment, "magnitude", 9, "infomin_fashion_mnist"),
]
# Numbers in gin files: a binding that changes them, and the run.
BINDINGS = [
    ("simclr.SimCLR.temperature = 0.1", "simclr_convnet_fashion_mnist"),
    ("heads.projector.widths = (128, 128)", "infomin_fashion_mnist"),
    ("moco.MoCo.queue_size = 2048", "moco_plain_fashion_mnist"),
    ("cmc_v2.CMCv2.momentum = 0.999", "cmc_v2_openclipart"),
    ("cmc.CMC.per_image = True", "cmc_3_scenes"),
    ("blur.Blur.kernel_size = 5", "moco_v2_fashion_mnist"),
    ("LEAST_AREA = 0.2", "pirl_fashion_mnist"),
    ("gray/view.Sometimes.probability = 0.1", "moco_fashion_mnist"),
    ("solarize/view.Sometimes.probability = 0.1", "byol_imagenet"),
    ("LEAST_SMALL_AREA = 0.08", "swav_imagenet"),
    ("optimizers.LARS.decay = 'all'", "simclr_openclipart"),
    ("optimizers.SGD.decay = 'kernels'", "simsiam_imagenet"),
    ("convnet.convnet.widths = (16, 32, 64, 64)", "cmc_4_core_scenes"),
]


def found_differences(name, found):
    return compare.differences(compare.read(name), found)


def test_every_run_has_a_golden_file():
    assert sorted(path.stem for path in compare.FOLDER.glob("*.json")) == runs.NAMES


@pytest.mark.parametrize("name", runs.NAMES)
def test_a_run_is_what_it_was(name):
    assert not found_differences(name, runs.described(name)), ADVICE


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in runs.TRAINED])
def test_a_run_computes_what_it_did(name):
    assert not found_differences(name, runs.trained(name)), ADVICE


@pytest.mark.parametrize(("function", "parameter", "value", "name"), DEFAULTS)
def test_another_default_is_caught(function, parameter, value, name, monkeypatch):
    function = inspect.unwrap(function.__init__ if inspect.isclass(function) else function)
    if parameter in (function.__kwdefaults__ or {}):
        monkeypatch.setitem(function.__kwdefaults__, parameter, value)
    else:
        code = function.__code__
        defaulted = code.co_varnames[code.co_argcount - len(function.__defaults__) : code.co_argcount]
        assert parameter in defaulted
        changed = [
            value if key == parameter else old for key, old in zip(defaulted, function.__defaults__, strict=True)
        ]
        monkeypatch.setattr(function, "__defaults__", tuple(changed))
    assert any(parameter in line for line in found_differences(name, runs.described(name)))


@pytest.mark.parametrize(("binding", "name"), BINDINGS)
def test_another_number_in_a_gin_file_is_caught(binding, name):
    assert found_differences(name, runs.described(name, [binding]))


def test_another_computation_is_caught(monkeypatch):
    right = info_nce.nt_xent
    monkeypatch.setattr(info_nce, "nt_xent", lambda a, b, temperature, group: right(a, b, 1.01 * temperature, group))
    assert any("losses" in line for line in found_differences("simclr_digits", runs.trained("simclr_digits")))


@pytest.fixture
def record():
    return compare.read("moco_v2_fashion_mnist")


def test_a_record_survives_its_text(record, tmp_path):
    compare.path_of("again", tmp_path).write_text(compare.text(record))
    assert compare.read("again", tmp_path) == record
    assert compare.path_of("again", tmp_path).read_text() == compare.path_of("moco_v2_fashion_mnist").read_text()


def test_every_kind_of_difference_is_one_line(record):
    changes = [
        ("config", "methods.multiview.Multiview.temperature", "0.1"),
        ("variables", "queue/keys", ["float32", [2048, 128], False, 0.000120053, 0.0883883]),
        ("variables", "hidden1/kernel", ["float32", [256, 256], True, 0.000418584, 0.0625]),
        ("trained", "conv1_1_bn/gamma", [1.1, 0.0]),
        ("trained", "conv1_1_bn/gamma", [float("nan"), 0.0]),
        ("losses", 7, record["losses"][7] * 1.001),
        ("losses", 7, float("nan")),
    ]
    for section, key, value in changes:
        found = copy.deepcopy(record)
        found[section][key] = value
        assert len(compare.differences(record, found)) == 1, (section, key, value)


def test_what_batch_norm_cancels_is_rounding():
    golden = compare.read("swav_digits")
    found = {"trained": dict(golden["trained"])}
    mean, deviation = found["trained"]["hidden1/bias"]
    assert 0 < deviation < compare.NOISE
    found["trained"]["hidden1/bias"] = [-2 * mean, 3 * deviation]
    assert not compare.differences(golden, found)
    found["trained"]["hidden1/bias"] = [mean, 2 * compare.NOISE]
    assert len(compare.differences(golden, found)) == 1


def test_a_renamed_variable_is_recognized(record):
    found = {"variables": dict(record["variables"])}
    found["variables"]["memory/keys"] = found["variables"].pop("queue/keys")
    assert compare.differences(record, found) == ["variables: queue/keys is called memory/keys"]


def test_rounding_leaves_a_golden_file_as_it_is(record):
    found = copy.deepcopy(record)
    found["losses"] = [loss * (1 + 1e-6) for loss in found["losses"]]
    assert compare.kept(record, found) == record
    found["losses"][-1] *= 1.01
    assert compare.kept(record, found)["losses"] == found["losses"]


def test_a_run_that_is_only_described_keeps_its_golden_file():
    found = compare.read("byol_imagenet")
    assert "losses" not in found and compare.kept(found, found) == found and compare.greatest(found, found) == (0, 0)
