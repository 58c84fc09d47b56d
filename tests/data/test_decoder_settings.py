"""The settings of the decoder, the sample that is white and the limit on pixels, reach it from every entrance."""

import gin
import numpy as np
import pytest
from PIL import Image

from tests.data import image_files
from zoo.data import sources
from zoo.tools import config, data

# Format, dtype of the samples, and the sample that is white where nothing is bound; None where a file states none.
DEPTHS = [("PNG", "uint16", 65535), ("TIFF", "uint16", 65535), ("TIFF", "int32", None), ("TIFF", "float32", None)]
SAMPLES = np.linspace(0, 5000, 35).reshape(5, 7)


def folder(path, form, dtype, count=3):
    path.mkdir()
    for index in range(count):
        image = Image.fromarray((SAMPLES + index).astype(dtype))
        (path / f"{index}.{form.lower()}").write_bytes(image_files.written(image, form))
    return f"folder:{path}"


def expected(samples, white):
    return np.floor(np.clip(samples / white, 0, 1) * 255 + 0.5)


@pytest.mark.parametrize("white", [None, 4095, 1000.5])
@pytest.mark.parametrize(("form", "dtype", "stated"), DEPTHS)
@pytest.mark.parametrize("in_memory", [True, False])
def test_white_is_bound_for_every_depth(tmp_path, form, dtype, stated, white, in_memory):
    name, arguments = folder(tmp_path / "deep", form, dtype), {"channels": 1, "in_memory": in_memory}
    if white is None and stated is None:
        with pytest.raises(ValueError, match="or `white`, the sample that is white. Received: .*deep/"):
            sources.load(name, **arguments)
        return
    found = sources.load(name, white=white, **arguments).fetch(range(3))[..., 0]
    shown = [expected((SAMPLES + number).astype(dtype), white or stated) for number in range(3)]
    assert sorted(image.tobytes() for image in found) == sorted(image.astype(np.uint8).tobytes() for image in shown)


@pytest.mark.parametrize("in_memory", [True, False])
def test_pixels_are_bound(tmp_path, in_memory):
    name = folder(tmp_path / "wide", "PNG", "uint16")
    assert sources.load(name, max_pixels=35, in_memory=in_memory).size == 3
    with pytest.raises(ValueError, match=r"expected at most 34 pixels. Received: .*wide/\d.png.*or raise `max_pixels`"):
        sources.load(name, max_pixels=34, in_memory=in_memory)
    with pytest.raises(ValueError, match="broken: "):
        sources.load(name, max_pixels=34, skip_broken=True)
    assert len(sources.load(name, max_pixels=34, skip_broken=False, size=4, in_memory=False).ids) == 3  # when reached


def test_a_run_binds_them_for_all_of_its_sources(tmp_path):
    """The data of the run and those of its evaluators, by a binding without a scope."""
    name = folder(tmp_path / "deep", "TIFF", "float32")
    params = ["sources.load.white = 4095", "sources.load.max_pixels = 35"]
    try:
        config.parse(["data/folder.gin"], [f"FOLDER = {name!r}", "held/sources.load.split = 'train[:1]'", *params])
        for scope in ("", "held"):
            with gin.config_scope(scope):
                source = gin.get_configurable(sources.load)()
            assert source.fetch([0]).max() == 255
            assert source.size == (1 if scope else 3)
        text = gin.operative_config_str()
    finally:
        gin.clear_config()
    assert "load.white = 4095" in text and "load.max_pixels = 35" in text


def test_programs_take_them(tmp_path, capsys):
    name = folder(tmp_path / "deep", "TIFF", "float32")
    settings = ["--white=4095", "--max_pixels=35"]

    def program(*arguments):
        return data.main(data.parser().parse_args(arguments))

    for command in ("check", "info", "export"):
        more = [f"--out={tmp_path}/export.npz"] if command == "export" else []
        assert program(command, name, *more) == 1
        assert "`white`, the sample that is white" in "".join(capsys.readouterr())
        assert program(command, name, *settings[:1], "--max_pixels=34", *more) == 1
        assert "at most 34 pixels" in "".join(capsys.readouterr())
        assert program(command, name, *settings, *more) == 0
    export = f"arrays:{tmp_path}/export.npz"
    np.testing.assert_array_equal(sources.load(export).images, sources.load(name, white=4095, in_memory=True).images)


def test_an_export_remembers_what_is_white(tmp_path, monkeypatch):
    name = folder(tmp_path / "deep", "TIFF", "float32")
    assert data.main(data.parser().parse_args(["export", name, "--white=4095", f"--data_dir={tmp_path}"])) == 0
    monkeypatch.setattr(sources, "_on_tensorflow", lambda: False)
    assert sources.load(name, data_dir=tmp_path, white=4095).size == 3
    for other in (None, 4096):
        with pytest.raises(ValueError, match=rf"expected white={other}. Received: .* made with white=4095"):
            sources.load(name, data_dir=tmp_path, white=other)
    with pytest.raises(FileNotFoundError, match=f"zoo-data export {name} --size=9 --white=7"):
        sources.load(name, size=9, data_dir=tmp_path, white=7)


@pytest.mark.parametrize("white", [0, -1, float("nan"), float("inf"), "4095", True])
@pytest.mark.parametrize("max_pixels", [0, -1, 2.5, "9", None, True])
def test_refuses_settings_out_of_range(tmp_path, white, max_pixels):
    name = folder(tmp_path / "deep", "PNG", "uint16")
    with pytest.raises(ValueError, match="load: expected `white` to be None or a positive number. Received: white="):
        sources.load(name, white=white)
    with pytest.raises(ValueError, match="load: expected `max_pixels` to be a positive integer. Received: max_pixels="):
        sources.load(name, max_pixels=max_pixels)
    with pytest.raises(ValueError, match="`white` to be None for data other than a folder. Received: white=9, name="):
        sources.load("digits", white=9)
