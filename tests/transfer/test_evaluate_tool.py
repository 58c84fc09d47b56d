import functools
import importlib.util
import itertools
import json
import pathlib
import sys
import types

import keras
import numpy as np
import pytest
from absl import flags
from PIL import Image

from zoo.hub import cards
from zoo.models import mlp
from zoo.serving import export
from zoo.tools import config
from zoo.transfer import results

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
QUICK = ("--labels=all", "--protocol=knn", "--train_split=train[:200]", "--test_split=test[:60]")


def encoder(seed=3):
    keras.utils.set_random_seed(seed)
    return mlp.mlp(image_shape=(8, 8, 1), widths=(6,))


class Trained:
    def encoders(self):
        return {"image": encoder(), "other": encoder(5)}


@pytest.fixture
def program(monkeypatch):
    """The program, with a stand-in for what restores a training run."""
    monkeypatch.setattr(config, "restore", lambda workdir, trust: (Trained(), {"seed": 0}))
    spec = importlib.util.spec_from_file_location("evaluate_tool", TOOLS / "evaluate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Flags of its own: absl's are one per process, and other programs define the same names.
    module.FLAGS = flags.FlagValues()
    names = [name for name in dir(flags) if name.startswith("DEFINE_")]
    defined = {name: functools.partial(getattr(flags, name), flag_values=module.FLAGS) for name in names}
    monkeypatch.setattr(module, "flags", types.SimpleNamespace(**defined))
    module.define_flags()
    return module


def start(program, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["zoo-evaluate", *arguments])
    program.FLAGS(sys.argv)
    return program.main(["zoo-evaluate"])


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "simclr_mlp_digits.v1"
    card = {"name": folder.name, "description": "A test.", "citation": ""}
    card["training"] = {"method": "simclr", "data": "digits", "split": "train", "epochs": 1, "seed": 0}
    card["license"] = {"code": "Apache-2.0", "weights": "Apache-2.0", "data": "CC0-1.0"}
    export.export(encoder(), folder, card, warmup=False)
    return folder


def test_a_published_folder_fills_the_table_and_its_card(program, monkeypatch, published, tmp_path, capsys):
    arguments = (f"--model={published}", f"--out={tmp_path}", f"--card={published / 'card.json'}", *QUICK)
    assert start(program, monkeypatch, *arguments) == 0
    rows = results.read(tmp_path)
    assert [row.features for row in rows] == ["pixels", "untrained", "trained"]
    assert all(row.value is not None and row.n_test == 60 for row in rows)
    assert rows[2].text in capsys.readouterr().out and rows[2].text in (tmp_path / "results.md").read_text()
    command = json.loads((tmp_path / "results.json").read_text())["command"]
    assert command.startswith(f"zoo-evaluate --model={published}") and "--out" not in command
    on_card = cards.opened(published)["results"]
    assert [(result["model"], result["value"]) for result in on_card] == [(row.features, row.value) for row in rows]


def test_all_ways_to_name_a_model_agree(program, monkeypatch, published, tmp_path):
    plain, workdir = tmp_path / "plain", tmp_path / "run"
    plain.mkdir()
    for part in ("saved_model.pb", "fingerprint.pb", "variables"):
        if (published / part).exists():
            (plain / part).symlink_to(published / part)
    workdir.mkdir()
    (workdir / "config.gin").write_text("")
    monkeypatch.setenv("ZOO_MODELS", str(published.parent))
    values = {}
    for name in (str(published), published.name, str(plain), str(workdir)):
        program.FLAGS.unparse_flags()
        program.FLAGS["model"].unparse()
        start(program, monkeypatch, f"--model={name}", f"--out={tmp_path / 'out'}", *QUICK)
        pixels, fresh, trained = results.read(tmp_path / "out")
        values[name] = trained.value
        assert (fresh.value is None) == (name == str(plain))
    assert len(set(values.values())) == 1, values


def test_refuses(program, monkeypatch, tmp_path):
    with pytest.raises(
        ValueError, match="expected a folder with card.json, saved_model.pb or config.gin. Received: model"
    ):
        program.resolve(str(tmp_path))
    with pytest.raises(ValueError, match="zoo: expected the path of a model folder or one of the names"):
        program.resolve("no_such_model")
    with pytest.raises(
        ValueError, match="--labels: expected `all` or a number of labels per class. Received: labels='x'"
    ):
        program.counts(["all", "x"])
    assert program.counts(["all", "10"]) == ("all", 10)


CENTROIDS = '''
import numpy as np

from zoo.transfer import protocols


def centroids(model, train, test, *, seed, features):
    """Classifies by the nearest class mean."""
    x, y = features(model, train), features(model, test)
    classes = np.unique(train.labels)
    means = np.stack([x[train.labels == label].mean(axis=0) for label in classes])
    distances = np.square(y[:, None] - means).sum(axis=-1)
    accuracy = float((classes[distances.argmin(axis=1)] == test.labels).mean())
    return [protocols.accuracy(accuracy, test.size)]
'''


def test_a_protocol_of_your_own_in_the_current_folder(program, monkeypatch, published, tmp_path):
    (tmp_path / "my_protocols.py").write_text(CENTROIDS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    start(program, monkeypatch, f"--model={published}", "--out=out", *QUICK, "--protocol=my_protocols.centroids,knn")
    rows = results.read(tmp_path / "out")
    assert [row.protocol for row in rows] == ["my_protocols.centroids"] * 3 + ["knn"] * 3
    assert all(row.value > 0.3 and row.interval for row in rows)


def test_an_encoder_by_name(program, monkeypatch, tmp_path):
    (tmp_path / "config.gin").write_text("")
    kernels = [program.resolve(str(tmp_path), name).get_weights()[0] for name in (None, "image", "other")]
    assert (kernels[0] == kernels[1]).all() and (kernels[0] != kernels[2]).any()
    with pytest.raises(ValueError, match="`encoder` to be one of 'image', 'other'. Received: encoder='imagr'. Did you"):
        program.resolve(str(tmp_path), "imagr")


def test_workdirs_that_differ_in_the_seed_are_one_column(program, tmp_path):
    for name, text in {"a/0": "loop.run.seed = 0\nx = 1", "a/1": "loop.run.seed = 1\nx = 1", "b/1": "x = 2"}.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.gin").write_text(text + "\n")
    names = [str(tmp_path / name) for name in ("a/0", "b/1", "a/1")] + ["published.v1", "other/published.v1"]
    found = program.grouped(names, program.configurations(names))
    assert found == {
        "a": [names[0], names[2]],
        "1": [names[1]],
        "published.v1": [names[3]],
        "published.v1'": [names[4]],
    }


def test_models_side_by_side(program, monkeypatch, published, tmp_path, capsys):
    monkeypatch.setenv("ZOO_MODELS", str(published.parent))
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.gin").write_text("")
    models = (f"--model={published.name}", f"--model={tmp_path / 'run'}")
    start(program, monkeypatch, *models, f"--out={tmp_path / 'out'}", *QUICK)
    rows = results.read(tmp_path / "out")
    assert [row.model for row in rows] == ["", published.name, published.name, "run", "run"]
    assert f"{published.name}, untrained" in (tmp_path / "out/results.md").read_text()
    program.FLAGS.unparse_flags()
    program.FLAGS["model"].unparse()
    with pytest.raises(ValueError, match="--card: expected a single model. Received: 2"):
        start(program, monkeypatch, *models, f"--out={tmp_path / 'out'}", f"--card={published}", *QUICK)


def test_modality_of_runs_on_the_same_data(program, tmp_path):
    for name, text in {
        "depth": "sources.load.image = 'depth'",
        "color": "",
        "other": "sources.load.image = 'x'",
    }.items():
        (tmp_path / name).mkdir()
        data = "rooms" if name == "other" else "scenes"
        (tmp_path / name / "config.gin").write_text(f"sources.load.name = '{data}'\n{text}\n")
    depth, color, other = (str(tmp_path / name) for name in ("depth", "color", "other"))

    def modality(names, data):
        return program.modality(names, program.configurations(names), data)

    assert modality([depth, other, str(tmp_path)], "scenes") == "depth"
    assert modality([color], "scenes") is None and modality([depth], "digits") is None
    with pytest.raises(ValueError, match="--image: expected models of one modality"):
        modality([depth, color], "scenes")


def images(folder, count=24):
    """Draws `count` images for every split of a folder; returns the relative paths of further files that are broken."""
    random = np.random.default_rng(0)
    for split, label, number in itertools.product(("train", "test"), "ab", range(count // 2)):
        path = folder / split / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    whole = (folder / "train/a/0.png").read_bytes()
    contents = {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"no image"}
    broken = [f"{split}/a/{kind}.png" for split in ("train", "test") for kind in contents]
    for path in broken:
        (folder / path).write_bytes(contents[pathlib.Path(path).stem])
    return broken


QUICK_IMAGES = ("--labels=all,3", "--protocol=knn", "--draws=2")


def test_broken_files_are_skipped_and_named_with_the_results(program, monkeypatch, published, tmp_path):
    broken = images(tmp_path / "images")
    arguments = (f"--model={published}", f"--data=folder:{tmp_path / 'images'}", f"--out={tmp_path / 'out'}")
    with pytest.raises(ValueError, match=r"load: expected .* Received: file=.*/(cut|empty|text).png"):
        start(program, monkeypatch, *arguments, *QUICK_IMAGES)
    assert not (tmp_path / "out/results.json").exists()
    program.FLAGS.unparse_flags()
    program.FLAGS["model"].unparse()
    assert start(program, monkeypatch, *arguments, *QUICK_IMAGES, "--skip_broken") == 0
    rows = results.read(tmp_path / "out")
    assert len(rows) == 6 and all(row.n_test == 24 and row.details["skipped"] == sorted(broken) for row in rows)
    record = json.loads((tmp_path / "out/results.json").read_text())
    assert "--skip_broken=True" in record["command"]
    # The same as of a folder without them, which records none.
    for path in broken:
        (tmp_path / "images" / path).unlink()
    program.FLAGS.unparse_flags()
    program.FLAGS["model"].unparse()
    start(program, monkeypatch, *arguments, *QUICK_IMAGES, "--noskip_broken")
    intact = results.read(tmp_path / "out")
    assert [row.value for row in intact] == [row.value for row in rows]
    assert not any("skipped" in row.details for row in intact)


def test_the_decoder_is_set_by_flags(program, monkeypatch, published, tmp_path):
    images(tmp_path / "images")
    arguments = (f"--model={published}", f"--data=folder:{tmp_path / 'images'}", f"--out={tmp_path / 'out'}")
    with pytest.raises(ValueError, match="`white` to be None or a positive number. Received: white=-1.0"):
        start(program, monkeypatch, *arguments, *QUICK_IMAGES, "--white=-1")
    program.FLAGS.unparse_flags()
    program.FLAGS["model"].unparse()
    with pytest.raises(ValueError, match="broken: .* and 49 more"):
        start(program, monkeypatch, *arguments, *QUICK_IMAGES, "--white=9", "--skip_broken", "--max_pixels=63")
