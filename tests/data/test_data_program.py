import importlib.util
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from zoo.data import sources

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


def tree(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((5, 6, 3), 99, np.uint8)).save(path)
    return f"folder:{root}"


LABELED = [f"{name}/{number}.png" for name in "ab" for number in range(2)]
# Layouts, and what is said about them.
LAYOUTS = [
    (["1.png", "2.png"], ["all images form the split train", "no image lies in a folder"]),
    (["a/1.png", "a/2.png"], ["all images lie in one folder, a/"]),
    (LABELED, ["the folders are classes: a, b", "2  a\n"]),
    (
        [f"Train/{name}" for name in LABELED] + ["VAL/b/1.png"],
        ["Train/, VAL/ are splits", "in train, val are classes"],
    ),
    (["a/monday/1.png", "b/monday/1.png"], ["not all images lie exactly one folder below", "a/monday/1.png"]),
    ([*LABELED, "preview.png"], ["not all images lie exactly one folder below", "preview.png"]),
    (
        [f"{split}/{name}" for split in ("train", "test") for name in LABELED] + ["docs/figure.png"],
        ["all images form the split train", "test/, train/ would be splits", "docs/figure.png"],
    ),
    (["test/a/1.png", "val/b/1.png"], ["there is no split train, only test, val"]),
    (
        [f"train/{name}" for name in LABELED] + ["test/z/1.png"],
        ["classes that train has no image of: z (1 of 1 images)", "0           1  z"],
    ),
]


@pytest.mark.parametrize(("names", "expected"), LAYOUTS, ids=lambda value: value[0])
def test_check_says_what_a_folder_was_taken_for(names, expected, program, capsys, tmp_path):
    assert program("check", tree(tmp_path, *names)) == 0
    out = capsys.readouterr().out
    assert f"{len(names)} images" in out and f"all {len(names)} images can be read" in out
    assert all(part in out for part in expected), out


@pytest.mark.parametrize("command", ["check", "info"])
def test_what_was_passed_over_is_said(command, program, capsys, tmp_path):
    name = tree(tmp_path, *LABELED, ".thumbs/1.png")
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "b" / "scan.heic").touch()
    assert program(command, name) == 0
    out = capsys.readouterr().out
    assert "the folders are classes: a, b" in out and "hidden files and folders: 1, such as .thumbs" in out
    assert "files ending in .txt: 1, such as a/notes.txt" in out and "files ending in .heic: 1" in out


def test_check_names_every_broken_file_at_once(program, capsys, tmp_path):
    name = tree(tmp_path, *LABELED, "new\nline/1.png")
    for path in ("a/0.png", "b/1.png"):
        (tmp_path / path).write_bytes((tmp_path / path).read_bytes()[:40])
    (tmp_path / "b" / "2.png").symlink_to("nowhere")
    (tmp_path / "a" / "caf\udce9.png").touch()
    assert program("check", name) == 1
    out, err = capsys.readouterr()
    broken = sorted(line.split(": ")[1] for line in out.splitlines() if line.startswith("  broken: "))
    assert broken == ["a/0.png", "a/caf\\udce9.png", "b/1.png", "b/2.png"]
    assert err.startswith("error: check: expected no broken file. Received: 4 of 7;")
    assert program("info", name, "--skip_broken") == 0
    assert "3 examples" in (out := capsys.readouterr().out) and "skipped a/0.png, a/caf\\udce9.png, b/1.png" in out


def test_info_of_an_export_needs_no_folder(program, capsys, caplog, tmp_path, monkeypatch):
    name = tree(tmp_path / "images", *LABELED)
    assert program("export", name, f"--data_dir={tmp_path}") == 0
    shutil.rmtree(tmp_path / "images")
    monkeypatch.setattr(sources, "_on_tensorflow", lambda: False)
    capsys.readouterr()
    assert program("info", name, f"--data_dir={tmp_path}", "--split=train[:1]") == 0
    assert f"{name} train[:1]: 1 examples" in capsys.readouterr().out
    assert f"{name} train[:1] lacks 1 of the 2 classes that train has" in caplog.text


def test_check_wants_a_folder(program, capsys, tmp_path):
    for name in ("digits", str(tmp_path), f"folder:{tmp_path}/none"):
        assert program("check", name) == 1
        assert "folder" in capsys.readouterr().err


def test_list(program, capsys, tmp_path):
    assert program("list", f"--data_dir={tmp_path}") == 0
    out = capsys.readouterr().out
    assert "zoo-data import fashion_mnist --from=/usr/share/" in out and "zoo-data import icons (downloaded, or" in out


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
    assert all(name in out for name in ("import", "prepare", "info", "check", "export", "list"))
    with pytest.raises(SystemExit):
        program("info", "--help")
