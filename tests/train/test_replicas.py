"""N replicas against one device: values, gradients, views and weights, in one process and in two."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from reference import presets
from reference import workers as ports

from zoo.train import step

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PROBE = pathlib.Path(__file__).parent.parent / "reference" / "replicas_probe.py"
GROUPS = ["mirrored-2", "mirrored-4", "multi_worker-2"]


def start(kind, count, out, extra=None):
    environment = {**os.environ, **(extra or {})}
    roots = [str(PROBE.parent.parent.parent), str(PROBE.parent.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(roots)
    command = [sys.executable, str(PROBE), kind, str(count), str(out)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    output = process.communicate(timeout=500)[0]
    assert process.returncode == 0, output[-3000:]


class Runs:
    """Group -> what each of its processes saved; a group runs when it is first asked for."""

    def __init__(self, folder):
        self._folder = folder

    @functools.cache  # noqa: B019, it lives as long as the module
    def __getitem__(self, group):
        kind, count = group.split("-")
        if kind != "multi_worker":
            outs = [self._folder / f"{group}.npz"]
            processes = [start(kind, count, outs[0])]
        else:
            outs = [self._folder / f"worker{index}.npz" for index in range(2)]
            cluster = {"worker": [f"localhost:{port}" for port in ports.free_ports(2)]}
            tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
            processes = [
                start(kind, count, out, {"TF_CONFIG": json.dumps(task)}) for out, task in zip(outs, tasks, strict=True)
            ]
        for process in processes:
            finish(process)
        return [dict(np.load(out)) for out in outs]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("replicas"))


def parts(run, prefix):
    """Name -> every replica's copy, over all processes."""
    return {name: np.concatenate([process[name] for process in run]) for name in run[0] if name.startswith(prefix)}


@pytest.mark.parametrize("group", GROUPS)
def test_loss_is_that_of_the_global_batch(runs, group):
    found, expected = parts(runs[group], "log:"), parts(runs["default-1"], "log:")
    assert "log:loss" in found
    for name in found:
        assert found[name].mean() == pytest.approx(expected[name].mean(), abs=1e-5)


@pytest.mark.parametrize("group", GROUPS)
def test_gradients_are_those_of_the_global_batch(runs, group):
    found, expected = parts(runs[group], "gradient:"), parts(runs["default-1"], "gradient:")
    for name in expected:
        size = max(1.0, np.abs(expected[name]).max())
        for part in found[name]:
            np.testing.assert_allclose(part / size, expected[name][0] / size, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("group", GROUPS)
def test_views_are_those_of_one_device(runs, group):
    found, expected = parts(runs[group], "view:"), parts(runs["default-1"], "view:")
    assert len(expected) == 2 and np.abs(expected["view:0"] - expected["view:1"]).max() > 0.1
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


@pytest.mark.parametrize(
    ("group", "optimizer"),
    [("mirrored-2", name) for name in ("lars", "sgd", "adamw", "by_path")] + [(name, "by_path") for name in GROUPS[1:]],
)
def test_ten_steps_give_the_weights_of_one_device(runs, group, optimizer):
    found, expected = (parts(runs[name], f"weight:{optimizer}:") for name in (group, "default-1"))
    for name in expected:
        for part in found[name]:
            np.testing.assert_allclose(part, expected[name][0], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("group", GROUPS)
def test_replicas_hold_the_same_weights_to_the_last_bit(runs, group):
    for name, copies in parts(runs[group], "weight:").items():
        for copy in copies:
            np.testing.assert_array_equal(copy, copies[0], err_msg=name)


@pytest.mark.parametrize(
    ("group", "name"),
    [("mirrored-2", name) for name in presets.PRESETS]
    + [(group, name) for group in GROUPS[1:] for name in presets.FEW],
)
def test_methods_with_a_memory_end_as_on_one_device(runs, group, name):
    """Weights, both networks' statistics, queues with their pointers and images, banks, normalizers."""
    found, expected = (parts(runs[run], f"state:{name}:") for run in (group, "default-1"))
    kinds = {path.split(":")[-1].split("/")[-1] for path in expected}
    assert kinds >= ({"rows", "draws"} if presets.PRESETS[name].memory == "bank" else {"keys", "ids", "pointer"})
    assert name != "cmc" or "log_normalizer" in kinds
    for path in expected:
        for part in found[path]:
            np.testing.assert_array_equal(part, found[path][0], err_msg=path)  # replicas agree to the last bit
        np.testing.assert_allclose(found[path][0], expected[path][0], atol=1e-4, err_msg=path)
    last, alone = (parts(runs[run], f"last:{name}") for run in (group, "default-1"))
    assert last[f"last:{name}"].mean() == pytest.approx(alone[f"last:{name}"].mean(), abs=1e-4)
    if presets.PRESETS[name].memory == "queue":
        pointer = next(value for path, value in expected.items() if path.endswith("pointer"))
        assert pointer[0] == 5 * 16 % 32


@pytest.mark.parametrize("group", GROUPS)
def test_gradients_are_summed_once_and_clipped_after(runs, group):
    np.testing.assert_allclose(runs[group][0]["clipped"], [-0.6, -0.8], atol=1e-6)


@pytest.mark.parametrize("group", GROUPS)
def test_gather_keeps_the_order_of_the_replicas_and_its_gradient(runs, group):
    count = int(group.split("-")[1])
    expected = np.concatenate([index * 10 + np.arange(6.0).reshape(2, 3) for index in range(count)])
    for part in parts(runs[group], "everyone")["everyone"]:
        np.testing.assert_array_equal(part, expected)
    for part in parts(runs[group], "everyone_gradient")["everyone_gradient"]:  # every replica's total sees these rows
        np.testing.assert_allclose(part, np.full((2, 3), count * (count + 1) / 2))


def test_without_reduction_refuses_what_is_no_keras_optimizer():
    with pytest.raises(TypeError, match="expected an optimizer of Keras on TensorFlow"):
        step.without_reduction(object())
