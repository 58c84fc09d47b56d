import numpy as np
import pytest
from absl import flags
from reference import programs

import zoo
from zoo.hub import cards
from zoo.models import mlp


@pytest.fixture(scope="module")
def encoder():
    return mlp.mlp(image_shape=(8, 8, 1), widths=(6,))


@pytest.fixture
def start(encoder, monkeypatch):
    return programs.export(encoder, monkeypatch)


def test_a_run_becomes_a_model(start, encoder, tmp_path, capsys):
    out = tmp_path / "simclr_mlp_digits.v1"
    start("--workdir=/runs/a", f"--out={out}", "--license_data=CC-BY-4.0", "--nowarmup")
    card = cards.opened(out)
    assert card["name"] == "simclr_mlp_digits.v1"
    assert card["description"] == "Encoder mlp, trained by simclr on digits, without labels."
    assert card["training"] == {**programs.RUN, "workdir": "a"}
    assert card["license"] == {"code": "Apache-2.0", "weights": "not stated", "data": "CC-BY-4.0"}
    images = np.random.default_rng(0).random((2, 8, 8, 1), dtype="float32")
    np.testing.assert_array_equal(zoo.load(out)(images, training=False), encoder(images, training=False))
    assert f"zoo.load('{out}')" in capsys.readouterr().out


def test_a_version_folder_needs_a_name(start, tmp_path):
    with pytest.raises(ValueError, match="^--name: expected lower-case letters.*Received: '1'"):
        start("--workdir=/runs/a", f"--out={tmp_path / '1'}")
    start("--workdir=/runs/a", f"--out={tmp_path / '1'}", "--name=simclr_mlp_digits.v1", "--nowarmup")
    assert cards.read(tmp_path / "1")["name"] == "simclr_mlp_digits.v1"
    with pytest.raises(ValueError, match="overwrite=True"):
        start("--workdir=/runs/a", f"--out={tmp_path / '1'}", "--name=simclr_mlp_digits.v1")


def test_the_place_is_required(start):
    with pytest.raises(flags.Error, match="out"):
        start("--workdir=/runs/a")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "^--workdir: expected a training run, or a --model. Received: workdir=None, model=None"),
        (["--workdir=a", "--model=b", "--serving"], "^--workdir: .*workdir='a', model='b'"),
        (["--model=nowhere"], "expected the path of a model folder or one of the names"),
        (["--workdir=a", "--version=2"], "^--version: expected with --serving only. Received: version=2"),
        (["--workdir=a", "--serving", "--overwrite"], "^--overwrite: expected without --serving"),
        (
            ["--workdir=a", "--serving", "--version=0"],
            "expected a version from 1 to 2\\*\\*63 - 1. Received: version=0",
        ),
        (["--workdir=a", "--serving", "--version=-1"], "expected a version from 1"),
        (["--workdir=a", "--serving", f"--version={2**63}"], "expected a version from 1"),
        (["--workdir=a", "--serving", "--name=../b"], "^--name: expected lower-case letters"),
        (["--workdir=a", "--serving", "--name=7"], "^--name: expected lower-case letters"),
        (["--model=nowhere", "--serving"], "expected the path of a model folder or one of the names"),
    ],
    ids=range(11),
)
def test_flags_that_do_not_fit_leave_nothing_behind(start, tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        start(f"--out={tmp_path / 'served'}", *arguments)
    assert not (tmp_path / "served").exists()
