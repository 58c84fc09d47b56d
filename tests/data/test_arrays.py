"""Exports: what TensorFlow reads of a data set, any engine reads from its arrays."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from zoo.data import arrays, numpy_stores, numpy_stream, sources

pytestmark = pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="exports are made by TensorFlow")


@pytest.fixture
def pictures(tmp_path):
    for split, count in (("train", 7), ("test", 3)):
        for index in range(count):
            folder = tmp_path / "pictures" / split / ("ab"[index % 2])
            folder.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng([count, index]).integers(0, 256, (6, 5, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{index}.png")
    return f"folder:{tmp_path}/pictures"


def exported(out, name, *more):
    from zoo.tools import data

    assert data.main(data.parser().parse_args(["export", name, f"--out={out}", *more])) == 0
    return f"arrays:{out}"


@pytest.mark.parametrize("form", ["whole.npz", "folder"])
@pytest.mark.parametrize("split", ["train", "test", "train[2:5]+test[:1]", "all", "test[50%:]"])
def test_an_export_is_what_it_was_made_of(pictures, tmp_path, form, split, capsys):
    name = exported(tmp_path / form, pictures, "--size=4")
    assert "7 examples of image (4, 4, 3)" in capsys.readouterr().out
    read, original = sources.load(name, split), sources.load(pictures, split, size=4)
    assert read.classes == original.classes == ["a", "b"] and read.image_shape == (4, 4, 3)
    np.testing.assert_array_equal(read.images, original.images)
    np.testing.assert_array_equal(read.labels, original.labels)
    assert sources.counts(name) == sources.counts(pictures) == {"train": 7, "test": 3}


@pytest.mark.parametrize("form", ["whole.npz", "folder"])
def test_another_engine_reads_the_same_batches(tmp_path, form):
    name = exported(tmp_path / form, "digits")
    original = sources.load(name, "train[:50]")
    program = (
        "import sys, json, hashlib, itertools\n"
        "from zoo.data import sources\n"
        f"data = sources.load({name!r}, 'train[:50]')\n"
        "for b in itertools.islice(data.batches(8, 3, start=4, shard=(1, 2)), 9):\n"
        "    print(json.dumps([b['id'].tolist(), b['label'].tolist(), hashlib.sha256(b['image']).hexdigest()]))\n"
        "assert not [m for m in sys.modules if m.startswith('tensorflow')], 'TensorFlow was imported'\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    import hashlib

    for line, batch in zip(
        found.stdout.splitlines(), original.batches(8, 3, start=4, steps=9, shard=(1, 2)), strict=True
    ):
        ids, labels, digest = json.loads(line)
        assert ids == batch["id"].numpy().tolist() and labels == batch["label"].numpy().tolist()
        assert digest == hashlib.sha256(batch["image"].numpy()).hexdigest()


def test_batches_from_memory_are_those_of_the_pipeline():
    data = sources.load("digits", "train[:37]")
    store = numpy_stores.Arrays({"image": data.images}, data.labels)
    rows = numpy_stream.shuffled(37, 6, 5, start=4, steps=20)
    found = numpy_stream.batches(rows, store, np.arange(37), data.ids)
    for batch, expected in zip(found, data.batches(6, 5, start=4, steps=20), strict=True):
        for key, value in batch.items():
            np.testing.assert_array_equal(value, expected[key])
            assert value.dtype == expected[key].numpy().dtype
    ids = [batch["id"] for batch in numpy_stream.batches(numpy_stream.in_order(37, 10), store, np.arange(37), data.ids)]
    np.testing.assert_array_equal(np.concatenate(ids), data.ids)


def test_names_say_where_an_export_lies(tmp_path):
    place = functools.partial(arrays.place, data_dir=tmp_path)
    assert place("imagenet/x:1.0.0", 64, 3).name == "imagenet_x_1.0.0-64-3channels.npz"
    assert place("scenes", extra=("normals", "depth")).name == "scenes-with_depth+normals.npz"
    assert place("scenes", image="depth").name == "scenes-image_is_depth.npz"


def test_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match="zoo-data export"):
        sources.load(f"arrays:{tmp_path}/none.npz")
    whole = pathlib.Path(exported(tmp_path / "d.npz", "digits").removeprefix("arrays:"))
    with pytest.raises(ValueError, match="expected size=16.*size=None"):
        sources.load(f"arrays:{whole}", size=16)
    with pytest.raises(ValueError, match="Did you mean 'train'"):
        sources.load(f"arrays:{whole}", "trian")
    before = whole.read_bytes()
    with pytest.raises(FileExistsError, match="which exists"):
        arrays.write(whole, "digits", {}, None)
    assert whole.read_bytes() == before
    for damaged in (before[: len(before) // 2], b"nonsense", before[:200] + bytes(200) + before[400:]):
        whole.write_bytes(damaged)
        with pytest.raises(ValueError, match="whole export"):
            sources.load(f"arrays:{whole}")
    few = [{"image": np.zeros((2, 2, 2, 1), np.uint8)}]
    with pytest.raises(ValueError, match="expected 3 examples of x train. Received: 2"):
        arrays.write(tmp_path / "x", "x", {"train": (3, {"image": ((2, 2, 1), "uint8")}, few)}, None)
    assert not (tmp_path / "x").exists() and not list(tmp_path.glob(".*"))
