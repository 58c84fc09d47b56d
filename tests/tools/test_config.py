import os
import re
import shlex
import subprocess
import sys

import gin
import pytest
from absl import flags

from zoo.hub import cards
from zoo.methods import simclr
from zoo.tools import config

DIGITS = "runs/simclr_digits.gin"


@pytest.fixture(autouse=True)
def forget():
    yield
    gin.clear_config()


def test_finds_shipped_files_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config.parse([DIGITS], ["loop.run.epochs = 3"])
    assert config.binding("epochs") == 3
    assert isinstance(config.binding("method")(), simclr.SimCLR)


def test_a_folder_named_like_ours_does_not_confuse_it(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    config.parse([DIGITS], [])


def test_what_it_asked_for_parses_again(tmp_path):
    config.parse([DIGITS], ["simclr.SimCLR.temperature = 0.25"])
    text = gin.config_str()
    (tmp_path / "config.gin").write_text(text)
    config.parse([str(tmp_path / "config.gin")], [])
    assert gin.config_str() == text
    assert config.binding("method")().temperature == 0.25


def test_missing_file_says_did_you_mean():
    with pytest.raises(FileNotFoundError, match="Did you mean 'runs/simclr_digits.gin'"):
        config.parse(["runs/simclr_digit.gin"], [])


@pytest.mark.parametrize("wrong", ["simclr.SimCLR.temprature = 0.1", "loop.run.epoch = 3", "simclr.SimCRL.x = 1"])
def test_misspelt_binding_is_refused(wrong):
    name = wrong.split(" ")[0].split(".")[-1 if "SimCRL" not in wrong else 1]
    with pytest.raises(ValueError, match=name):
        config.parse([DIGITS], [wrong])


def test_unused_binding_is_refused(tmp_path):
    """A projector that the method does not get: its binding would do nothing."""
    (tmp_path / "x.gin").write_text(
        "from __gin__ import dynamic_registration\nfrom zoo.views import blur\nfrom zoo.models import heads\n"
        "blur.Blur.padding = 'reflect'\nheads.projector.widths = (4, 4)\n"
    )
    config.parse([str(tmp_path / "x.gin")], [])
    with pytest.raises(ValueError, match="heads.projector.widths.*blur.Blur.padding"):
        config.refuse_unused()


def test_unbound_root_parameter_names_the_binding(tmp_path):
    (tmp_path / "x.gin").write_text(
        "from __gin__ import dynamic_registration\nfrom zoo.train import loop\nloop.run.epochs = 1\n"
    )
    config.parse([str(tmp_path / "x.gin")], [])
    with pytest.raises(ValueError, match="loop.run.method"):
        config.binding("method")


@pytest.mark.parametrize(
    "binding",
    [
        "loop.run.rhythm = @loop.Rhythm()",
        "loop.Rhythm.keep = 2",
        "loop.run.optimizer = @optimizers.SGD",
        "loop.run.evaluators = (@monitor.KNN(), @held_out.HeldOut())",
        "near/sources.load.split = 'train[:100]'",
        "geometry.Crop.area = (0.1, 1.0)",
        "blur.Blur.padding = 'reflect'",
        "run.epochs = 7",
    ],
)
def test_any_parameter_can_be_bound(binding):
    config.parse([DIGITS], [binding])
    name, _, value = binding.partition(" = ")
    assert re.search(rf"(?m)^{re.escape(name) if '/' in name else '.*' + re.escape(name)} = ", gin.config_str()), value


@pytest.mark.parametrize(
    "binding",
    ["sources.load.name = digits", "loop.run.epochs =", "loop.run.epochs = @", "= 3", "simclr.SimCLR.x = 1",
     "simclr.Nothing.x = 1", "no.such.x = 3", "loop.run.method = @nothing.Method", "include 'nothing.gin'", "x = [1"],
)  # fmt: skip
def test_a_wrong_binding_is_named(binding):
    with pytest.raises(ValueError, match=f"--gin_param: expected .* Received: .*{re.escape(binding[:8])}"):
        config.parse([DIGITS], [binding])


@pytest.mark.parametrize(
    "content", [b"include 'x.gin'", "loop.run.epochs = 3".encode("utf-16"), b"\x89PNG\r\n", b"a = "]
)
def test_a_wrong_file_is_named(content, tmp_path):
    (tmp_path / "x.gin").write_bytes(content)
    with pytest.raises(ValueError, match="--gin_file: expected .* Received: .*x.gin"):
        config.parse([str(tmp_path / "x.gin")], [])


def test_an_empty_file_binds_no_method(tmp_path):
    (tmp_path / "x.gin").write_text("")
    config.parse([str(tmp_path / "x.gin")], [])
    with pytest.raises(ValueError, match="expected a value for `loop.run.method`. Received: none"):
        config.binding("method")


EXECUTED = []


def record(*arguments):
    EXECUTED.append(arguments)


FOREIGN = [
    "import os\nloop.run.method = @os.getloadavg",
    "import subprocess\nloop.run.method = @subprocess.getoutput",
    "from os import path\nloop.run.method = @path.abspath",
    "from  subprocess  import getoutput",
    "  import subprocess",
    "import zoology",
    "from zoo_attack import x",
    "import \\\nsubprocess",
    "include '/etc/passwd'",
    "from zoo import files\nloop.run.method = @files.os.getloadavg",
    "from zoo import files\nloop.run.method = @files.write",
    "from zoo.train import loop\nloop.run.method = @loop.run",
    "from zoo import files\nsimclr.SimCLR.encoder = @files.os.getloadavg()",
    "from zoo import files\nsimclr.SimCLR.encoder = @scope/files.os.getloadavg()",
    "from zoo import files\nENCODER = @files.os.getloadavg()",
    "from zoo import files\nconvnet.convnet.widths = (3, @files.os.getloadavg())",
    "from zoo import files\nconvnet.convnet.widths = {'a': [@files.os.getloadavg()]}",
    "from zoo.methods import method\nsimclr.SimCLR.encoder = @method.checks.require",
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_workdir_executes_nothing_but_the_library(foreign, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", record)
    config.parse([DIGITS], [])
    (tmp_path / "config.gin").write_text(gin.config_str() + "\n" + foreign + "\n")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="--trust allows and executes it"):
        config.restore(tmp_path)
    assert not EXECUTED


GAPS = (" ", "   ", "\t", "\\\n", " \\\n  ", "\\\n\t")
IMPORTS = {
    f"{before}{statement}"
    for before in ("", "  ", "\f", "loop.run:\n  epochs = 1\n", "epochs = (1,\n2)\n")
    for gap in GAPS
    for statement in (
        f"import{gap}foreign",
        f"import{gap}foreign as zoo",
        f"from{gap}foreign import x",
        f"from{gap}foreign{gap}import{gap}x{gap}as{gap}y",
        *(f"include{space}{quoted}" for space in ("", gap) for quoted in ("'{other}'", '"{other}"', "\"\" '{other}'")),
        f"include{gap}r'{{other}}'",
        f"include{gap}'''{{other}}'''",
    )
}


@pytest.mark.parametrize("before", ["", "# é\n"])
def test_no_spelling_of_a_foreign_import_is_executed(before, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "foreign.py").write_text("x = 1\n")
    (tmp_path / "other.gin").write_text("import foreign\n")
    (tmp_path / "run.json").write_text("{}")
    for statement in sorted(IMPORTS):
        text = f"{before}{statement.format(other=tmp_path / 'other.gin')}\n"
        (tmp_path / "config.gin").write_text("from zoo.train import loop\n" + text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"Received: .* in line \d+ of .*; --trust allows and executes it"):
            config.restore(tmp_path)
        assert "foreign" not in sys.modules, text


@pytest.mark.parametrize(
    "text", ["import zoo; import os", "include('x.gin')", "import\ros", "\ufeffimport os", "a = ("]
)
def test_what_gin_cannot_parse_is_not_restored(text, tmp_path):
    (tmp_path / "config.gin").write_text(text, encoding="utf-8", newline="")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="Received: .*config.gin"):
        config.restore(tmp_path)


SPEC = b'{"extra_shapes": {}, "view_shapes": [3], "first_id": 0, "classes": 0}'
RECORDS = [b"", b"{", b"\xff\xfe", b"null", b"[]", b"3", b"{}", b'{"spec": {}}', b'{"spec": 3}', b'{"spec": %b}' % SPEC]
RECORDS += [b'{"spec": {"extra_shapes": []}}', b'{"spec": %b, "batch_size": 2, "examples": 9}' % SPEC]


@pytest.mark.parametrize("content", RECORDS)
def test_a_record_that_is_none_is_named(content, tmp_path):
    config.parse([DIGITS], [])
    (tmp_path / "config.gin").write_text(gin.config_str())
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match="restore: expected the record of a training run. Received: .*run.json"):
        config.restore(tmp_path)


def test_what_was_looked_through_is_what_is_parsed(tmp_path, monkeypatch):
    """Another configuration takes the place of the file in between."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "foreign.py").write_text("raise ValueError('executed')\n")
    (tmp_path / "run.json").write_text("{}")
    config.parse([DIGITS], [])
    path, text, look = tmp_path / "config.gin", gin.config_str(), config._refuse_foreign_imports
    path.write_text(text)

    def swap(*arguments):
        look(*arguments)
        path.write_text("from __gin__ import dynamic_registration\nimport foreign\n")

    monkeypatch.setattr(config, "_refuse_foreign_imports", swap)
    with pytest.raises(ValueError, match="expected the record of a training run"):  # the configuration was parsed
        config.restore(tmp_path)
    assert "import foreign" in path.read_text() and gin.config_str() == text


def test_foreign_modules_are_imported_with_trust(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "foreign", raising=False)
    (tmp_path / "foreign.py").write_text("def x():\n    raise ValueError('executed')\n")
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "config.gin").write_text(
        "from __gin__ import dynamic_registration\nfrom zoo.train import loop\nimport foreign\n"
        "loop.run.method = @foreign.x\n"
    )
    with pytest.raises(ValueError, match="executed"):
        config.restore(tmp_path, trust=True)
    monkeypatch.delitem(sys.modules, "foreign")


@pytest.mark.parametrize("path", sorted((cards.shipped("gin") / "runs").glob("*.gin")), ids=lambda path: path.stem)
def test_every_run_that_is_shipped_needs_no_trust(path, tmp_path):
    config.parse([f"runs/{path.name}"], [])
    (tmp_path / "config.gin").write_text(gin.config_str())
    config._refuse_foreign_imports(tmp_path / "config.gin", gin.config_str())
    config.parse([str(tmp_path / "config.gin")], [])
    config._refuse_foreign_parts()


def test_restoring_what_is_no_workdir(tmp_path):
    with pytest.raises(FileNotFoundError, match="config.gin"):
        config.restore(tmp_path)


@pytest.mark.parametrize("line", ["simclr.SimCRL.temperature = 0.1", "loop.run.epochs = ", "import no.such.module"])
def test_mistakes_in_a_file_are_errors_too(tmp_path, line):
    (tmp_path / "x.gin").write_text(f"include '{DIGITS}'\nfrom __gin__ import dynamic_registration\n{line}\n")
    with pytest.raises(ValueError, match="gin|Could not|import"):
        config.parse([str(tmp_path / "x.gin")], [])


def test_finds_what_a_checkout_calls_gin_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config.parse(["gin/" + DIGITS], [])


def test_a_command_is_what_was_asked_without_this_machine():
    values = flags.FlagValues()
    for name in ("model", "gin_param"):
        flags.DEFINE_multi_string(name, [], "", flag_values=values, module_name="zoo.tools.x")
    flags.DEFINE_list("protocol", ["knn"], "", flag_values=values, module_name="zoo.tools.x")
    flags.DEFINE_string("out", None, "", flag_values=values, module_name="zoo.tools.x")
    flags.DEFINE_integer("seed", 0, "", flag_values=values, module_name="zoo.tools.x")
    values(["x", "--model=a", "--model", "b", "--protocol=knn,linear", "--out", "/here", "--gin_param=a.b = 1"])
    assert shlex.split(config.command("zoo-x", values, "out")) == [
        "zoo-x",
        "--model=a",
        "--model=b",
        "--gin_param=a.b = 1",
        "--protocol=knn,linear",
    ]


def test_kernels_are_chosen_before_tensorflow_is_there():
    code = "import sys; from zoo.tools import evaluate, train; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("before, after", [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")])
def test_a_choice_of_kernels_stays(before, after, monkeypatch):
    monkeypatch.setattr(config.os, "environ", before)
    config.use_onednn()
    assert before == {"TF_ENABLE_ONEDNN_OPTS": after}
