import copy
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import pytest

import zoo
from zoo.hub import cards

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def make_card(name="simclr_convnet_digits.test", **changes):
    card = {
        "card_version": 1,
        "name": name,
        "description": "A test.",
        "architecture": {"factory": "zoo.models.convnet:convnet", "arguments": {}},
        "embedding": 16,
        "features": {"P2": [2, 2, 16]},
        "input": {
            "shape": [8, 8, 1],
            "range": [0, 1],
            "mean": 0.3,
            "std": [0.4],
            "color_space": "gray",
            "interpolation": "bilinear",
            "antialias": True,
            "crop": "center",
        },
        "training": {"method": "simclr", "data": "digits", "epochs": 2, "seed": 0},
        "results": [
            {
                "data": "digits",
                "protocol": "knn",
                "labels": None,
                "value": 0.9,
                "interval": [0.88, 0.92],
                "n_seeds": 3,
                "model": "trained",
                "source": "ours",
                "command": "zoo-evaluate",
            }
        ],
        "files": {"encoder.weights.h5": {"sha256": "0" * 64, "bytes": 0}},
        "license": {"code": "Apache-2.0", "weights": "CC0-1.0", "data": "CC-BY-4.0"},
        "citation": "",
    }
    return {**card, **changes}


def make_folder(root, name="simclr_convnet_digits.test", **changes):
    folder = root / name
    (folder / "variables").mkdir(parents=True)
    (folder / "encoder.weights.h5").write_bytes(b"weights" * 1000)
    (folder / "variables" / "variables.index").write_bytes(b"index")
    cards.write(make_card(name, files=cards.contents(folder), **changes), folder)
    return folder


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MODELS", str(tmp_path))
    monkeypatch.setattr(cards, "shipped", lambda folder: tmp_path / "nothing")
    return tmp_path


def test_a_card_survives_writing_and_reading(tmp_path):
    card = make_card(description="Größe ≤ 1")
    cards.write(card, tmp_path)
    assert cards.read(tmp_path) == card
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"]


def test_digests_are_those_of_hashlib(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"abc")
    (tmp_path / "card.json").write_text("{}")
    assert cards.contents(tmp_path) == {"a/b": {"sha256": hashlib.sha256(b"abc").hexdigest(), "bytes": 3}}


def test_an_intact_folder_opens(root):
    assert cards.opened(make_folder(root))["name"] == "simclr_convnet_digits.test"


@pytest.mark.parametrize("name", ["encoder.weights.h5", "variables/variables.index"])
@pytest.mark.parametrize("position", [0, 2, -1])
def test_one_flipped_bit_is_refused(root, name, position):
    folder = make_folder(root)
    expected = cards.read(folder)["files"][name]["sha256"]
    data = bytearray((folder / name).read_bytes())
    data[position] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ValueError) as caught:
        cards.opened(folder)
    received = hashlib.sha256(data).hexdigest()
    assert all(word in str(caught.value) for word in (name, expected, received, "again"))


def test_a_truncated_file_is_refused_with_its_size(root):
    folder = make_folder(root)
    (folder / "encoder.weights.h5").write_bytes(b"weights" * 999)
    with pytest.raises(ValueError, match=r"encoder\.weights\.h5.*7000 bytes.*6993 bytes"):
        cards.opened(folder)


def test_a_missing_file_is_refused(root):
    folder = make_folder(root)
    (folder / "variables" / "variables.index").unlink()
    with pytest.raises(ValueError, match=r"variables/variables\.index.*no such file.*again"):
        cards.opened(folder)


@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.cpb", "variables/variables.data", "assets.extra/x"])
def test_a_file_that_readers_open_must_be_in_the_card(root, name):
    folder = make_folder(root)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match="expected only files that are listed in card.json"):
        cards.opened(folder)


def test_a_note_beside_the_model_does_no_harm(root):
    folder = make_folder(root)
    (folder / "README.md").write_text("hello")
    cards.opened(folder)


@pytest.mark.parametrize(
    "path",
    ["../secret", "/etc/passwd", "a/../../b", "a//b", "./a", "a\\..\\b", "C:/x", "", "a/", "card.json", "a\0b", ".."],
)
def test_paths_that_could_leave_the_folder_are_refused(path):
    card = make_card()
    card["files"][path] = {"sha256": "0" * 64, "bytes": 0}
    with pytest.raises(ValueError, match="stay inside the folder"):
        cards.check(card)


def _set(path, value):
    def change(card):
        *parents, last = path.split("/")
        for parent in parents:
            card = card[int(parent) if parent.isdigit() else parent]
        card[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("card_version", 2, "card_version=2"),
        ("card_version", "1", "card_version='1'"),
        ("name", "../up", "name="),
        ("name", "Upper", "name="),
        ("architecture/factory", "os:system", "architecture.factory='os:system'"),
        ("architecture/factory", "zoo.models.x.os:system", "architecture.factory"),
        ("architecture/arguments", [], "architecture.arguments"),
        ("input/shape", [8, 8], "input.shape"),
        ("input/shape", [8, 8, 3], "expected 1 channels for gray"),
        ("input/range", [0, 255], "input.range"),
        ("input/std", 0, "input.std"),
        ("input/mean", [0.1, 0.2], "input.mean"),
        ("input/color_space", "lab", "input.color_space"),
        ("input/interpolation", "cubic", "input.interpolation"),
        ("embedding", True, "embedding=True"),
        ("embedding", 0, "embedding=0"),
        ("features", {"C2": [1, 1, 1]}, "C2"),
        ("results/0/value", float("nan"), "value=nan"),
        ("results/0/interval", [0.9, 0.8], "interval"),
        ("results/0/source", "rumor", "source='rumor'"),
        ("files", {}, "encoder.weights.h5"),
        ("files", {"encoder.weights.h5": {"sha256": "0" * 63, "bytes": 0}}, "sha256"),
        ("files", {"encoder.weights.h5": {"sha256": "0" * 64, "bytes": -1}}, "bytes=-1"),
        ("license", {"code": "MIT", "weights": "MIT"}, "license.data"),
        ("descripton", "typo", "Did you mean 'description'"),
    ],
)
def test_a_wrong_field_is_named(path, value, named):
    card = make_card()
    _set(path, value)(card)
    with pytest.raises(ValueError) as caught:
        cards.check(card)
    assert named in str(caught.value)
    assert str(caught.value).startswith("card: expected ")


def test_every_required_field_is_required():
    whole = make_card()
    for name in whole:
        card = copy.deepcopy(whole)
        del card[name]
        with pytest.raises(ValueError, match=f"{name}.*no such field"):
            cards.check(card)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\udc80"])
def test_what_is_no_card_is_refused_with_its_place(tmp_path, text):
    (tmp_path / "card.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="card.json"):
        cards.read(tmp_path)


def test_a_wrong_card_is_never_written(tmp_path):
    cards.write(make_card(), tmp_path)
    with pytest.raises(ValueError):
        cards.write(make_card(embedding=-1), tmp_path)
    assert cards.read(tmp_path)["embedding"] == 16


def test_names_are_sorted_and_patterns_select(root):
    for name in ("b_two.x", "a_one.x", ".a_hidden.x"):
        make_folder(root, name) if not name.startswith(".") else (root / name).mkdir()
    assert zoo.list_models() == ["a_one.x", "b_two.x"]
    assert zoo.list_models("b_*") == ["b_two.x"]
    assert zoo.info("a_one.x") == json.loads((root / "a_one.x" / "card.json").read_text())
    assert zoo.info(root / "a_one.x") == zoo.info("a_one.x")


def test_filters_compare_with_the_card(root):
    make_folder(root, "a_a_a.x", training={"method": "SimCLR", "data": "digits"}, embedding=256)
    make_folder(root, "b_b_b.x", training={"method": "moco", "data": "fashion_mnist"})
    assert zoo.list_models(method="simclr") == ["a_a_a.x"]
    assert zoo.list_models(data="fashion_*") == ["b_b_b.x"]
    assert zoo.list_models(embedding=256) == ["a_a_a.x"]
    assert zoo.list_models(encoder="convnet", input_shape=(8, 8, 1)) == ["a_a_a.x", "b_b_b.x"]
    assert zoo.list_models(method="simclr", data="fashion_mnist") == []
    with pytest.raises(ValueError, match="method, data.*Did you mean 'embedding'"):
        zoo.list_models(embeding=256)


def test_a_near_miss_is_answered_with_the_name(root):
    make_folder(root)
    with pytest.raises(ValueError, match=r"Did you mean 'simclr_convnet_digits\.test'\?"):
        zoo.info("simclr_convnet_digit.test")


def test_one_name_in_two_places_is_refused(tmp_path, monkeypatch):
    make_folder(tmp_path / "a")
    make_folder(tmp_path / "b")
    monkeypatch.setenv("ZOO_MODELS", os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")]))
    assert zoo.list_models("simclr_convnet_digits.test") == ["simclr_convnet_digits.test"]
    with pytest.raises(ValueError, match="expected one folder"):
        zoo.info("simclr_convnet_digits.test")


def test_listing_imports_no_framework():
    script = (
        "import sys, zoo; names = zoo.list_models(); [zoo.info(name) for name in names]; dir(zoo); zoo.__version__;"
        "heavy = {'tensorflow', 'keras', 'numpy', 'jax'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=REPOSITORY)


def test_the_package_has_no_other_names():
    assert {"load", "list_models", "info", "__version__"} <= set(dir(zoo))
    with pytest.raises(AttributeError, match="no_such_name"):
        zoo.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("folder:/home/me/photos", "folder:/path/to/photos"),
        ("zoo-train --workdir=~/runs/a --data_dir=/data", "zoo-train --workdir=/path/to/a --data_dir=/path/to/data"),
        ("sources.load.name = 'folder:/a/b/c/'", "sources.load.name = 'folder:/path/to/c'"),
        ("['/a/b', \"/c/d\"]", "['/path/to/b', \"/path/to/d\"]"),
        *[
            (same, same)
            for same in ("https://arxiv.org/abs/1", "(.*/)?(in|out)/.*", "a / b", "runs/x/seed0", "@luma/net()")
        ],
    ],
)
def test_folders_of_this_machine_are_left_out(text, expected):
    assert cards.without_folders({"a": [text, 1]}) == {"a": [expected, 1]}
