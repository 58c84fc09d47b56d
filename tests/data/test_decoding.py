"""Every image file that Pillow writes comes out as Pillow shows it, or is refused; nothing ends the process."""

import collections
import logging
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFile, ImageOps

from tests.data import image_files
from zoo.data import decoding, images, tf_stores

FAMILY = list(image_files.family())
LUMA = np.array([19595, 38470, 7471])
# Deep or unlike colors: nothing in these files says how they look, or Pillow does not.
UNSTATED = ("TIFF I ", "TIFF F ")


def shown(data, channels):
    """An image as Pillow shows it, by other ways than the library's."""
    image = ImageOps.exif_transpose(Image.open(image_files.io.BytesIO(data)))
    if image.mode.startswith("I"):
        samples = np.asarray(image).astype(int)
        gray = (samples + 128) // 257
        key = image.info.get("transparency")
        gray = gray if key is None else np.where(samples == key, 255, gray)
        return np.repeat(gray[..., None], channels, -1)
    rgba = np.asarray(image.convert("RGB").convert("RGBA") if image.mode == "LAB" else image.convert("RGBA")).astype(
        int
    )
    alpha = rgba[..., 3:]
    over_white = np.floor((rgba[..., :3] * alpha + 255 * (255 - alpha)) / 255 + 0.5).astype(int)
    return over_white if channels == 3 else ((over_white @ LUMA + 2**15) >> 16)[..., None]


@pytest.fixture(scope="module", params=[1, 3])
def channels(request):
    return request.param


def test_all_that_pillow_writes_is_shown_or_refused(channels):
    outcomes = collections.Counter()
    for name, data in FAMILY:
        try:
            found = decoding.decoded(data, channels)
        except decoding.Refused as error:
            assert name.startswith(UNSTATED) and "white" in str(error), f"{name}: {error}"
            outcomes["refused"] += 1
            continue
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, shown(data, channels), err_msg=name)
        outcomes["equal"] += 1
    assert outcomes["equal"] > 700 and outcomes["refused"] < 40, outcomes


def test_a_graph_shows_the_same_or_refuses(channels):
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def decoded(data):
        kinds, orientations = images.decodable(data[None])
        return images.decoded(data, kinds[0], orientations[0], channels)

    outcomes = collections.Counter()
    for name, data in FAMILY:
        form = name.split()[0]
        try:
            found = decoded(data).numpy()
        except tf.errors.InvalidArgumentError:
            outcomes["refused", form] += 1
        else:
            np.testing.assert_array_equal(found, shown(data, channels), err_msg=name)
            outcomes["equal", form] += 1
    refused = {form: count for (outcome, form), count in outcomes.items() if outcome == "refused"}
    assert all(outcomes["equal", form] > 2 * refused.get(form, 0) for form in ("PNG", "JPEG", "WEBP", "png")), outcomes
    assert not outcomes["equal", "GIF"] and not outcomes["equal", "TIFF"]


def test_plain_files_are_shown_the_same_by_graphs_that_know_nothing(channels):
    for name, data in FAMILY:
        if name.startswith(UNSTATED):
            continue
        plain = decoding.plain(data)
        assert plain is data or plain == data or plain.startswith(b"\x89PNG"), name
        is_jpeg = plain.startswith(b"\xff\xd8\xff")
        # DecodeImage takes the fast method for JPEG, which is rounded otherwise.
        exact = tf.io.decode_jpeg(plain, dct_method="INTEGER_ACCURATE") if is_jpeg else None
        stored = exact if is_jpeg else tf.io.decode_image(plain, expand_animations=False)
        found = images.unified(stored, channels)
        np.testing.assert_array_equal(found, shown(data, channels), err_msg=name)


def test_a_header_is_read_without_the_pixels(monkeypatch):
    def load(self):
        raise AssertionError("decoded")

    expected = {name: decoding.header(data) for name, data in FAMILY}
    assert sum(header.is_plain for header in expected.values()) > len(FAMILY) // 4
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert {name: decoding.header(data) for name, data in FAMILY} == expected


@pytest.mark.parametrize("kind", ["tRNS", "eXIf", "tEXt", "iTXt"])
def test_what_follows_the_pixels_of_a_png_file_is_heeded(channels, kind):
    pixels = image_files.noise("L", 4, 6)
    exif = image_files.oriented(6)["exif"].tobytes().removeprefix(b"Exif\0\0")
    extra = {
        "tRNS": b"\0" + np.asarray(pixels).tobytes()[:1],
        "eXIf": exif,
        "tEXt": b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(exif), exif.hex().encode()),
        "iTXt": b'XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta tiff:Orientation="6"/>',
    }[kind]
    whole = image_files.written(pixels, "PNG")
    end = whole.index(b"IEND") - 4
    data = whole[:end] + image_files.chunk(kind.encode(), extra) + whole[end:]
    assert not np.array_equal(shown(data, channels), shown(whole, channels))
    assert not decoding.header(data).is_plain
    stored = tf.io.decode_image(decoding.plain(data), expand_animations=False)
    np.testing.assert_array_equal(images.unified(stored, channels), shown(data, channels))


def test_files_in_folders_are_shown(tmp_path, channels):
    chosen = [item for item in FAMILY[::7] if not item[0].startswith(UNSTATED)]
    paths = [tmp_path / f"{number}" for number in range(len(chosen))]
    for path, (_, data) in zip(paths, chosen, strict=True):
        path.write_bytes(data)
    for size in (None, 5):
        for path, (name, data) in zip(paths, chosen, strict=True):
            found = tf_stores.Files([str(path)], None, channels, size).batch(tf.constant([0]))["image"][0]
            expected = shown(data, channels).astype(np.uint8)
            expected = expected if size is None else images.fitted(tf.constant(expected), size)
            np.testing.assert_array_equal(found, expected, err_msg=name)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_without_a_depth_scale_by_white(mode):
    samples = np.array([[0, 100, 400, 1000, -3]], np.int32 if mode == "I" else np.float32)
    data = image_files.written(Image.fromarray(samples), "TIFF")
    np.testing.assert_array_equal(decoding.decoded(data, 1, white=400)[0, :, 0], [0, 64, 255, 255, 0])


def test_what_is_nearly_black_is_said(caplog):
    dim = Image.fromarray(np.full((4, 4), 1023, np.uint16))
    with caplog.at_level(logging.WARNING):
        decoding.decoded(image_files.written(dim, "PNG"), 1, name="dim.png")
    assert "dim.png" in caplog.text and "nearly black" in caplog.text


def test_pixels_are_counted_before_they_are_decoded(channels):
    for form in image_files.FORMATS:
        data = image_files.written(Image.new("RGB", (20, 30)), form)
        with pytest.raises(decoding.Refused, match="at most 599 pixels. Received: 600"):
            decoding.decoded(data, channels, pixels=599)
        if form in ("GIF", "TIFF"):
            continue
        for pixels in (599, 600):
            try:
                kinds, orientations = images.decodable(tf.constant([data]), pixels)
                image = images.decoded(tf.constant(data), kinds[0], orientations[0], channels, pixels)
                assert pixels == 600 and image.shape == (30, 20, channels)
            except tf.errors.InvalidArgumentError:
                assert pixels == 599, form


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "broken", "device"):
        store = tf_stores.Files([str(tmp_path / f"{name}.png")], None, 3, 8)
        with pytest.raises(ValueError, match=f"{name}.png"):
            store.explain(np.array([0]))
        with pytest.raises((OSError, tf.errors.OpError)):
            store.batch(tf.constant([0]))


MUTATED = """
import sys
import numpy as np, tensorflow as tf
from tests.data import image_files
from zoo.data import decoding, images

@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def decoded(data):
    kinds, orientations = images.decodable(data[None], 10**6)
    return images.decoded(data, kinds[0], orientations[0], 3, 10**6)

random = np.random.default_rng(0)
family = list(image_files.family())
count = refused = 0
for number in range(int(sys.argv[1])):
    data = image_files.mutated(family[random.integers(len(family))][1], number, random)
    for decode in (decoded, lambda data: decoding.decoded(data, 3, 10**6), lambda data: decoding.plain(data, 10**6)):
        count += 1
        try:
            decode(data)
        except (tf.errors.InvalidArgumentError, decoding.Refused):
            refused += 1
print(count, refused)
"""


@pytest.mark.slow
def test_no_mutation_ends_the_process():
    root, number = pathlib.Path(__file__).parents[2], 30_000
    command = [sys.executable, "-c", MUTATED, str(number)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    count, refused = map(int, done.stdout.split()[-2:])
    assert count == 3 * number and 0.2 * count < refused < 0.95 * count, done.stdout
