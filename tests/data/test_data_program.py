import importlib.util
import pathlib

import numpy as np
import pytest
from PIL import Image

PATH = pathlib.Path(__file__).parents[2] / "tools" / "data.py"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("zoo_data_program", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *argv: module.main(module.parser().parse_args(list(argv)))


def test_info(program, capsys):
    assert program("info", "digits", "--split=test") == 0
    out = capsys.readouterr().out
    assert "digits test: 500 examples" in out and "image   uint8 (8, 8, 1)" in out and "classes 10" in out


def test_info_of_an_unlabeled_folder(program, capsys, tmp_path):
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(tmp_path / "1.png")
    assert program("info", f"folder:{tmp_path}", "--size=4") == 0
    assert "1 examples\n  image   uint8 (4, 4, 3)" in capsys.readouterr().out


def test_list(program, capsys, tmp_path):
    assert program("list", f"--data_dir={tmp_path}") == 0
    assert "zoo-data import fashion_mnist" in capsys.readouterr().out


def test_a_mistake_ends_with_a_message(program, capsys, tmp_path):
    assert program("import", "fashion_mnist", f"--from={tmp_path}", f"--data_dir={tmp_path}/t") == 1
    assert capsys.readouterr().err.startswith("error: import: expected a file.")
    assert program("info", "digits", "--split=tset") == 1
    assert "Did you mean 'test'" in capsys.readouterr().err


def test_help_names_every_command(program, capsys):
    with pytest.raises(SystemExit) as end:
        program("--help")
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("import", "prepare", "info", "list"))
    with pytest.raises(SystemExit):
        program("info", "--help")
