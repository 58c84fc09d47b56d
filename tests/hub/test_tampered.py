"""Whatever a model folder holds, `zoo.load` returns a model or raises ValueError."""

import copy
import json
import warnings

import h5py
import keras
import numpy as np
import pytest
from test_pretrained import publish

import zoo
from zoo.hub import cards
from zoo.models import convnet

VALUES = (None, "../x", -1, 0, 1.5, 10**400, float("nan"), True, [], {"x": [None]})


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original") / "simclr_convnet_test.v1"
    publish(folder, convnet.convnet(image_shape=(8, 8, 3), widths=(2, 3), mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 3.0]))
    return folder


@pytest.fixture
def folder(original, tmp_path):
    made = tmp_path / original.name
    made.mkdir()
    for path in original.iterdir():
        (made / path.name).write_bytes(path.read_bytes())
    return made


def leaves(value, path=()):
    """Yields the path of every value in a card, whole objects and lists among them."""
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from leaves(value[key], (*path, key))


def replaced(card, path, value):
    card = copy.deepcopy(card)
    place = card
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return card


def outcome(folder):
    """Returns 'loaded' or the message of a ValueError; lets any other exception pass."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zoo.load(folder)
    except ValueError as error:
        return str(error)
    return "loaded"


@pytest.mark.slow
def test_cards_with_any_value_in_any_field(folder):
    card = cards.read(folder)
    found = {}
    for path in leaves(card):
        for value in VALUES if path[0] in ("architecture", "input", "embedding", "files") else VALUES[:2]:
            (folder / "card.json").write_text(json.dumps(replaced(card, path, value)))
            found[path, repr(value)] = outcome(folder)
    refused = [message for message in found.values() if message != "loaded"]
    assert len(refused) > 200 and all("expected" in message and "eceived" in message for message in refused)
    assert "loaded" in found.values()


def test_a_card_must_agree_with_its_encoder(folder):
    card = cards.read(folder)
    for path, value in {
        ("embedding",): 4,
        ("input", "shape", 0): 9,
        ("architecture", "arguments", "widths", 1): 5,
    }.items():
        (folder / "card.json").write_text(json.dumps(replaced(card, path, value)))
        assert "as the architecture has it" in outcome(folder), path


def rewritten(folder, change):
    """Changes the weights file, and the card's record of it."""
    path = folder / "encoder.weights.h5"
    change(path)
    card = json.loads((folder / "card.json").read_text())
    card["files"]["encoder.weights.h5"] = cards.digest(path)
    (folder / "card.json").write_text(json.dumps(card))


def datasets(file):
    names = []
    file.visititems(lambda name, entry: names.append(name) if isinstance(entry, h5py.Dataset) else None)
    return names


def with_dataset(value):
    def change(path):
        with h5py.File(path, "r+") as file:
            name = datasets(file)[0]
            del file[name]
            if value is not None:
                file[name] = value

    return change


def with_external_link(path):
    with h5py.File(path, "r+") as file:
        name = datasets(file)[0]
        del file[name]
        file[name] = h5py.ExternalLink("/etc/hostname", "/x")


CHANGES = {
    "missing": with_dataset(None),
    "text": with_dataset("weights"),
    "complex": with_dataset(np.ones((3, 3, 3, 2), complex)),
    "other shape": with_dataset(np.ones((5,), "float32")),
    "scalar": with_dataset(np.float32(1)),
    "group": lambda path: with_group(path),
    "external": with_external_link,
}


def with_group(path):
    with h5py.File(path, "r+") as file:
        name = datasets(file)[0]
        del file[name]
        file.create_group(name)


@pytest.mark.parametrize("name", CHANGES)
def test_weights_of_other_contents(folder, name):
    rewritten(folder, CHANGES[name])
    assert outcome(folder).startswith("zoo.load: expected weights of zoo.models.convnet:convnet")


def test_weights_cut_or_damaged_anywhere(folder):
    original = (folder / "encoder.weights.h5").read_bytes()
    random = np.random.default_rng(0)
    found = []
    for _ in range(25):
        cut = bytes(original[: random.integers(len(original))])
        place = int(random.integers(len(original) - 8))
        damaged = original[:place] + random.bytes(8) + original[place + 8 :]
        for data in (cut, damaged):
            rewritten(folder, lambda path, data=data: path.write_bytes(data))
            found.append(outcome(folder))
    assert {message.split(":")[0] for message in found} <= {"zoo.load", "loaded"} and len(set(found)) > 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"1" * 10_000,
        b"null",
        b"[]",
        b'"x"',
        b"\xef\xbb\xbf{}",
        b'{"card_version": 2}',
    ],
    ids=["empty", "bytes", "nested", "digits", "null", "list", "text", "mark", "newer"],
)
def test_cards_that_are_none(folder, content):
    (folder / "card.json").write_bytes(content)
    assert "expected" in outcome(folder)


def test_places_that_are_no_files(folder):
    (folder / "encoder.weights.h5").unlink()
    (folder / "encoder.weights.h5").mkdir()
    assert "expected the file encoder.weights.h5" in outcome(folder)
    (folder / "card.json").unlink()
    (folder / "card.json").symlink_to(folder / "card.json")
    assert "expected a folder with a card.json" in outcome(folder)


def test_one_bad_folder_does_not_hide_the_others(folder, monkeypatch):
    monkeypatch.setenv("ZOO_MODELS", str(folder.parent))
    bad = folder.parent / "bad_model.v1"
    bad.mkdir()
    (bad / "card.json").write_text("{")
    known = zoo.list_models()
    assert folder.name in known and "bad_model.v1" in known
    with pytest.warns(UserWarning, match="bad_model.v1/card.json to be JSON"):
        found = zoo.list_models(embedding=3)
    assert found == [folder.name]


@pytest.fixture(scope="module")
def loaded(original):
    return zoo.load(original)


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 7])
def test_channels_by_the_rule_of_timm(original, loaded, channels):
    changed = zoo.load(original, input_shape=(8, 8, channels))
    kernel, expected = (model.get_layer("conv1_1_conv").kernel.numpy() for model in (changed, loaded))
    if channels == 1:
        expected = expected.sum(axis=2, keepdims=True)
    else:
        expected = np.tile(expected, (1, 1, 3, 1))[:, :, :channels] * 3 / channels
    np.testing.assert_allclose(kernel, expected, rtol=1e-6)
    assert changed.input_shape == (None, 8, 8, channels)
    assert [v.shape for v in changed.variables[1:]] == [v.shape for v in loaded.variables[1:]]
    assert keras.ops.shape(changed(np.zeros((2, 8, 8, channels), "float32"))) == (2, 3)


def test_equal_channels_give_equal_features(tmp_path):
    plain = publish(tmp_path / "simclr_convnet_plain.v1", convnet.convnet(image_shape=(8, 8, 3), widths=(2, 3)))
    gray = np.random.default_rng(0).random((4, 8, 8, 1), dtype="float32")
    expected = plain(np.repeat(gray, 3, axis=3))
    for channels in (1, 3, 6, 9):
        found = zoo.load(tmp_path / "simclr_convnet_plain.v1", input_shape=(8, 8, channels))
        np.testing.assert_allclose(found(np.repeat(gray, channels, axis=3)), expected, atol=1e-5)


def test_channels_and_back_and_size_at_once():
    model = zoo.load("simclr_convnet_digits.e100", input_shape=(16, 12, 3), include_top=True, classes=5)
    assert model(np.zeros((1, 16, 12, 3), "float32")).shape == (1, 5)
    with pytest.raises(ValueError, match="takes the channels of its images as they are"):
        zoo.load("cmc_convnet_openclipart.e72", input_shape=(32, 32, 4))
