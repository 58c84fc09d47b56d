import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from zoo.data import openclipart, packaged, sources

needs_debian = pytest.mark.skipif(
    not pathlib.Path(openclipart.FOLDER).is_dir(), reason="the package openclipart-png is not installed"
)


def noise(seed, shape=(40, 30, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures, and nine files that show nothing new."""
    root = tmp_path / "png"
    for category in ("animals", "food/fruit", "tools"):
        (root / category).mkdir(parents=True)
    for number in range(12):
        Image.fromarray(noise(number)).save(root / ("animals", "food/fruit", "tools")[number % 3] / f"{number:02d}.png")
    (root / "animals" / "link.png").symlink_to("../food/fruit/01.png")
    (root / "tools" / "copy.png").write_bytes((root / "animals" / "00.png").read_bytes())
    Image.fromarray(noise(0)).convert("RGBA").save(root / "tools" / "same.png")
    Image.fromarray(noise(20)).save(root / "food" / "cut.png")
    (root / "food" / "cut.png").write_bytes((root / "food" / "cut.png").read_bytes()[:500])
    (root / "food" / "none.png").write_bytes(b"no picture")
    Image.fromarray(noise(21, (5, 100, 3))).save(root / "food" / "narrow.png")
    Image.new("L", (8000, 5001)).save(root / "food" / "vast.png")
    Image.new("RGBA", (20, 20), (9, 9, 9, 0)).save(root / "food" / "clear.png")
    Image.new("RGB", (20, 20), "white").save(root / "food" / "white.png")
    return root


def test_what_is_kept_and_what_is_left_out(folder):
    found = openclipart.collected(folder)
    names = ("animals", "food/fruit", "tools")
    assert set(found.pictures) == {f"{names[number % 3]}/{number:02d}.png" for number in range(12)}
    counts = {"files": 21, "unreadable": 2, "extreme": 2, "blank": 2, "duplicate": 3}
    assert found.counts == counts
    (folder / "tools" / "11.png").write_bytes(b"something else")
    assert openclipart.collected(folder).manifest != found.manifest


def png(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "x.png")
    return (tmp_path / "x.png").read_bytes()


def test_a_picture_lies_in_the_middle_of_a_white_square(tmp_path):
    black = np.zeros((64, 128, 3), np.uint8)
    picture, reason = openclipart.fitted(png(tmp_path, black))
    assert reason is None and picture.dtype == np.uint8
    expected = np.full((64, 64, 3), 255, np.uint8)
    expected[16:48] = 0
    away = np.array([row not in (15, 16, 47, 48) for row in range(64)])  # antialiasing mixes at the border
    np.testing.assert_array_equal(picture[away], expected[away])
    # As large as the square, it stays as it is; four times, each pixel is about the mean of what it covers.
    pixels = noise(3, (64, 64, 3))
    np.testing.assert_array_equal(openclipart.fitted(png(tmp_path, pixels))[0], pixels)
    ramp = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 256, 3))
    small = openclipart.fitted(png(tmp_path, ramp))[0].astype(float)
    np.testing.assert_allclose(small[2:-2, :, 0], np.tile(4 * np.arange(2, 62) + 1.5, (64, 1)).T, atol=0.51)


def test_what_is_transparent_shows_white(tmp_path):
    pixels = np.dstack([np.zeros((64, 64, 3), np.uint8), np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))])
    picture, _ = openclipart.fitted(png(tmp_path, pixels))
    np.testing.assert_allclose(picture[..., 0].astype(int), 255 - pixels[..., 3], atol=1)


def test_a_fifth_is_for_testing():
    share = np.mean([openclipart.is_test(f"animals/{number}.png") for number in range(10_000)])
    assert share == pytest.approx(0.2, abs=0.016)  # 4 standard errors


def test_imported(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    warned = []
    monkeypatch.setattr(openclipart._log, "warning", lambda *args: warned.append(args))
    builder = packaged.imported("openclipart", folder, tmp_path / "tfds")
    assert any("not comparable" in args[0] for args in warned)
    assert builder.info.splits["train"].num_examples + builder.info.splits["test"].num_examples == 12
    kept = tfds.builder("openclipart", data_dir=tmp_path / "tfds").info.metadata
    assert kept["duplicate"] == 3 and kept["kept"] == 12
    pictures = openclipart.collected(folder).pictures
    for split in ("train", "test"):
        source = sources.load("openclipart", split, data_dir=tmp_path / "tfds")
        expected = {
            name: picture for name, picture in pictures.items() if openclipart.is_test(name) == (split == "test")
        }
        assert source.image_shape == (64, 64, 3) and source.size == len(expected)
        found = {
            image.tobytes(): source.classes[label] for image, label in zip(source.images, source.labels, strict=True)
        }
        assert found == {picture.tobytes(): name.split("/")[0] for name, picture in expected.items()}


def test_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        packaged.imported("openclipart", tmp_path / "none", tmp_path / "tfds")
    with pytest.raises(ValueError, match="with none"):
        openclipart.collected(tmp_path)
    (tmp_path / "horses").mkdir()
    (tmp_path / "horses" / "1.png").write_bytes(b"")
    with pytest.raises(ValueError, match="with horses"):
        openclipart.collected(tmp_path)
    with pytest.raises(FileNotFoundError, match="zoo-data import openclipart --from=/usr/share/openclipart/png"):
        sources.load("openclipart", data_dir=tmp_path / "tfds")


@needs_debian
@pytest.mark.slow
def test_the_package():
    found = openclipart.collected(openclipart.FOLDER)
    _, files, manifest = openclipart.DEBIAN
    assert found.manifest == manifest and found.counts["files"] == files
    assert len(found.pictures) == files - sum(
        found.counts[why] for why in ("unreadable", "extreme", "blank", "duplicate")
    )
