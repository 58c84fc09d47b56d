import functools
import importlib.util
import pathlib
import sys
import types

import numpy as np
import pytest
from absl import flags

import zoo
from zoo.hub import cards
from zoo.models import mlp

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
DEFINES = ("DEFINE_string", "DEFINE_bool")
RUN = {"method": "simclr", "data": "digits", "split": "train", "epochs": 2.0, "seed": 0, "config": "a.b = 1\n"}


class Trained:
    def __init__(self, encoder):
        self.encoder = encoder

    def feature_extractor(self, view=None):
        return self.encoder


@pytest.fixture(scope="module")
def encoder():
    return mlp.mlp(image_shape=(8, 8, 1), widths=(6,))


@pytest.fixture
def start(encoder, monkeypatch):
    """Starts the program on a stand-in for a training run; restoring a real one is tested with `zoo.tools.config`."""
    config = types.ModuleType("zoo.tools.config")
    config.restore = lambda workdir: (Trained(encoder), {**RUN, "workdir": workdir.name})
    package = types.ModuleType("zoo.tools")
    package.config = config
    monkeypatch.setitem(sys.modules, "zoo.tools", package)
    monkeypatch.setitem(sys.modules, "zoo.tools.config", config)
    spec = importlib.util.spec_from_file_location("export_tool", TOOLS / "export.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments):
        # Flags of its own: absl's are one per process, and other programs define the same names.
        module.FLAGS = flags.FlagValues()
        defined = {name: functools.partial(getattr(flags, name), flag_values=module.FLAGS) for name in DEFINES}
        monkeypatch.setattr(module, "flags", types.SimpleNamespace(**defined))
        module.define_flags()
        module.FLAGS(["zoo-export", *arguments])
        return module.main(["zoo-export"])

    return run


def test_a_run_becomes_a_model(start, encoder, tmp_path, capsys):
    out = tmp_path / "simclr_mlp_digits.v1"
    start("--workdir=/runs/a", f"--out={out}", "--license_data=CC-BY-4.0", "--nowarmup")
    card = cards.opened(out)
    assert card["name"] == "simclr_mlp_digits.v1"
    assert card["description"] == "Encoder mlp, trained by simclr on digits, without labels."
    assert card["training"] == {**RUN, "workdir": "a"}
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


def test_the_flags_that_matter_are_required(start):
    with pytest.raises(flags.Error, match="workdir"):
        start("--out=a")
