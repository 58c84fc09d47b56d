"""A run is its configuration and its data; it can be interrupted anywhere, lengthened, and started from weights."""

import functools
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from zoo.data import sources
from zoo.methods import moco, simclr
from zoo.models import convnet, heads
from zoo.train import checkpoint, loop, optimizers, schedules, start, workdir
from zoo.views import geometry, view

REFERENCE = pathlib.Path(__file__).parent.parent / "reference"
PROJECTOR = functools.partial(heads.projector, widths=(8, 4))


def encoder(image_shape):
    return convnet.convnet(image_shape, (4,))


def run(folder, **changes):
    arguments = {
        "method": lambda: simclr.SimCLR(encoder, PROJECTOR),
        "views": view.Views((geometry.Crop(8), geometry.Crop(8))),
        "data": sources.load("digits", "train[:64]"),
        "workdir": folder,
        "schedule": schedules.WarmupCosine(0.1, "none", 0),
        "epochs": 3,
        "batch_size": 16,
        "rhythm": loop.Rhythm(log_every=3, steps_per_call=2),
        **changes,
    }
    return loop.run(**arguments)


def newest(folder):
    return np.load(checkpoint.Checkpoints(folder / "checkpoints").files()[-1])


def after(calls):
    """A function that returns True from the given call on."""
    count = iter(range(calls))
    return lambda: next(count, None) is None


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 4, 9])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(calls, whole, tmp_path):
    with pytest.raises(loop.Interrupted) as stopped:
        run(tmp_path, interrupted=after(calls))
    assert 0 < stopped.value.step < 12 and stopped.value.steps == 12
    assert json.loads((tmp_path / "run.json").read_text())["done"] == stopped.value.step
    run(tmp_path)
    ours, theirs = newest(tmp_path), newest(whole)
    for name in theirs.files:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert (tmp_path / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    assert "window" not in json.loads((tmp_path / "run.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_asks_for_another_start(number, tmp_path):
    files = [f"--gin_file={REFERENCE / name}" for name in ("tiny.gin", "tiny_simclr.gin")]
    command = [sys.executable, REFERENCE / "killed.py", f"8:{number.name}", *files, f"--workdir={tmp_path / 'run'}"]
    process = subprocess.run([*command, "--gin_param=loop.run.epochs = 4"], capture_output=True, text=True)
    assert process.returncode == 75, process.stderr
    assert "Traceback" not in process.stderr and f"{number.name}: saving" in process.stderr
    done = json.loads((tmp_path / "run/run.json").read_text())
    assert not list((tmp_path / "run").rglob(".*")) and not list((tmp_path / "run").rglob("*.tmp*"))
    assert 0 < done["done"] < done["steps"] and f"Stopped after step {done['done']} of" in process.stdout


def test_a_folder_in_use_is_refused(tmp_path):
    home = workdir.Workdir(tmp_path, "", {})
    with home.locked():
        with pytest.raises(ValueError, match=f"no other process trains in.* used by process {os.getpid()} on"):
            run(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
        home.check(chief=False)  # the other workers of a run find the folder locked by their chief
    run(tmp_path, epochs=0.25)


def test_the_lock_ends_with_its_process(tmp_path):
    code = "import sys, time; from zoo.train import workdir; home = workdir.Workdir(sys.argv[1], '', {})\n"
    code += "with home.locked(): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {other.pid}"), workdir.Workdir(tmp_path, "", {}).locked():
            pass
        other.kill()
    with workdir.Workdir(tmp_path, "", {}).locked():
        pass


def pictures(root, counts, side=8):
    for label, count in counts.items():
        for number in range(count):
            path = root / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([number, len(label)]).integers(0, 255, (side, side, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(path)


def folder(root, in_memory, split="train"):
    return sources.load(f"folder:{root}", split, size=8, in_memory=in_memory)


@pytest.mark.parametrize("in_memory", [True, False])
def test_other_files_are_refused_with_the_difference(in_memory, tmp_path):
    root, home = tmp_path / "images", tmp_path / "run"
    pictures(root, {"a": 10, "bb": 10})
    workdir.Workdir(home, "", folder(root, in_memory).fingerprint()).begin()
    changes = {
        "classes a: 10 -> 12": lambda: pictures(root, {"a": 12}),
        "classes ccc: none -> 2": lambda: pictures(root, {"ccc": 2}),
        "contents: [0-9a-f]{64} ->": lambda: pictures(root, {"a": 10}, side=9),
        "examples: 20 -> 19": lambda: (root / "a/3.png").unlink(),
    }
    for expected, change in changes.items():
        workdir.Workdir(home, "", folder(root, in_memory).fingerprint()).check()
        change()
        with pytest.raises(ValueError, match=rf"(?s)expected the data that .*before -> now.*{expected}"):
            workdir.Workdir(home, "", folder(root, in_memory).fingerprint()).check()
        for path in root.rglob("*.png"):
            path.unlink()
        pictures(root, {"a": 10, "bb": 10})
        for empty in [path for path in root.iterdir() if not any(path.iterdir())]:
            empty.rmdir()
    with pytest.raises(ValueError, match="split: train -> train.:10."):
        workdir.Workdir(home, "", folder(root, in_memory, "train[:10]").fingerprint()).check()


def test_a_run_refuses_other_arrays(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 8, 8, 1), dtype=np.uint8)
    run(tmp_path, data=sources.from_arrays({"image": pixels}), epochs=0.25)
    pixels[5, 0, 0, 0] ^= 1
    before = (tmp_path / "run.json").read_text()
    with pytest.raises(ValueError, match="expected the data that"):
        run(tmp_path, data=sources.from_arrays({"image": pixels}), epochs=0.25)
    assert (tmp_path / "run.json").read_text() == before


def test_a_run_is_lengthened_on_purpose_only(whole, tmp_path, caplog):
    with pytest.raises(loop.Interrupted):
        run(tmp_path, epochs=2, config="loop.run.epochs = 2\n", interrupted=after(3))
    with pytest.raises(ValueError, match=r"(?s)configuration that .*\n-loop.run.epochs = 2\n\+loop.run.epochs = 3"):
        run(tmp_path, config="loop.run.epochs = 3\n")
    with pytest.raises(ValueError, match=r"(?s)`lengthen` allows another `epochs` alone.*\+a.b = 1"):
        run(tmp_path, config="loop.run.epochs = 3\na.b = 1\n", lengthen=True)
    with caplog.at_level(logging.INFO):
        longer = run(tmp_path, config="loop.run.epochs = 3\n", lengthen=True)
    assert int(longer.optimizer.iterations) == 12 and optimizers.learning_rate(longer.optimizer) < 1e-6
    assert "planned for 8 steps. The learning rate now follows the schedule for 12: it is" in caplog.text
    assert (tmp_path / "config.gin").read_text() == "loop.run.epochs = 3\n"
    run(tmp_path, config="loop.run.epochs = 3\n")  # as any other run from now on


def test_a_run_without_a_configuration_is_not_lengthened_by_accident(tmp_path):
    run(tmp_path, epochs=1)
    with pytest.raises(ValueError, match="`epochs` for 4 steps, as before, or `lengthen`. Received: steps=8"):
        run(tmp_path, epochs=2)
    with pytest.raises(ValueError, match="`epochs` for 4 steps or more, which are done. Received: steps=2"):
        run(tmp_path, epochs=0.5, lengthen=True)
    run(tmp_path, epochs=2, lengthen=True)


def test_starts_from_another_run(whole, tmp_path):
    trained = run(whole)
    begun = run(tmp_path / "same", init_from=whole, epochs=0.25, schedule=lambda *_: 0.0)
    for ours, theirs in zip(begun.trainable_variables, trained.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    other = run(
        tmp_path / "other",
        method=lambda: moco.MoCo(encoder, PROJECTOR, queue_size=32, bn_groups=1),
        init_from=whole,
        epochs=0.25,
        schedule=lambda *_: 0.0,
    )
    kernel = next(v for v in trained.embedder.encoder.trainable_variables if v.path.endswith("kernel"))
    same = [v for v in other.variables if v.shape == kernel.shape and np.allclose(v, kernel)]
    assert len(same) == 2  # in the encoder and the momentum encoder


def test_starts_from_a_published_encoder():
    from zoo.hub import pretrained

    published = pretrained.load("simclr_convnet_digits.e100")
    learner = simclr.SimCLR(lambda image_shape: convnet.convnet((None, None, 1), (64, 128), depth=2), PROJECTOR)
    spec = loop.make_spec(view.Views((geometry.Crop(8), geometry.Crop(8))), sources.load("digits"), 16)
    learner.begin(spec)
    assert start.initialize(learner, "simclr_convnet_digits.e100") == len(published.variables)
    images = np.random.default_rng(0).random((4, 8, 8, 1), dtype="float32")
    np.testing.assert_array_equal(learner.encoders()["image"](images), published(images))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("simclr_convnet_digits.e100", "weights of the architecture of the run's encoder"),
        ("simclr_convnet_digits.e10", "Did you mean 'simclr_convnet_digits.e100'"),
    ],
)
def test_other_weights_are_refused_before_anything_is_written(source, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", init_from=source)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"done": 3}', "\x00"])
def test_a_broken_record_is_named(text, whole, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match="expected the record of a run. Received: file='.*run.json'"):
        run(tmp_path)
