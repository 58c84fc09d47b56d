"""Features beside the image: maps that are fitted like it, masks, boxes and vectors that come as they are."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from zoo.data import images, sources


class ZooPaired(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        ragged = "Ragged" in type(self).__name__
        features = {
            "image": tfds.features.Image(shape=(None, None, 3) if ragged else (6, 8, 3)),
            "depth": tfds.features.Image(shape=(None, None, 1) if ragged else (6, 8, 1)),
            "label": tfds.features.Image(shape=(5, 8, 1)),  # neither a class nor of that size
            "far": tfds.features.Image(shape=(6, 8, 1), dtype=np.uint16),
            "mask": tfds.features.Tensor(shape=(6, 8), dtype=np.int32),
            "box": tfds.features.BBoxFeature(),
            "vector": tfds.features.Tensor(shape=(5,), dtype=np.float32),
            "flag": tfds.features.Scalar(np.bool_),
            "kind": tfds.features.ClassLabel(names=["x", "y"]),
            "title": tfds.features.Text(),
            "boxes": tfds.features.Sequence(tfds.features.BBoxFeature()),
            "nested": {"a": tfds.features.Scalar(np.int64)},
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "kind")
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(20), "test": self._generate_examples(4)}

    def _generate_examples(self, count):
        random = np.random.default_rng(count)
        ragged = "Ragged" in type(self).__name__
        for number in range(count):
            height = 6 + ragged * (number % 3)
            box = tfds.features.BBox(0.1, 0.2, 0.5, 0.25 + number / 40)
            yield (
                number,
                {
                    "image": random.integers(0, 256, (height, 8, 3), dtype=np.uint8),
                    "depth": random.integers(0, 256, (height, 8, 1), dtype=np.uint8),
                    "label": np.zeros((5, 8, 1), np.uint8),
                    "far": random.integers(0, 2**16, (6, 8, 1)).astype(np.uint16),
                    "mask": random.integers(-9, 9, (6, 8)).astype(np.int32),
                    "box": box,
                    "vector": random.normal(size=5).astype(np.float32),
                    "flag": bool(number % 3),
                    "kind": number % 2,
                    "title": str(number),
                    "boxes": [box] * (number % 3),
                    "nested": {"a": number},
                },
            )


class ZooPairedRagged(ZooPaired):
    pass


class ZooVectors(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"x": tfds.features.Tensor(shape=(3,), dtype=np.float32)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(12):
            yield number, {"x": np.full(3, number, np.float32)}


PLAIN = ("far", "mask", "box", "vector", "flag", "kind")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for name in ("zoo_paired", "zoo_paired_ragged", "zoo_vectors"):
        tfds.builder(name, data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


def load(data_dir, **options):
    return sources.load(**{"name": "zoo_paired", "data_dir": data_dir, "extra": ("depth",), **options})


def read(data_dir, *keys, name="zoo_paired"):
    examples = list(tfds.load(name, split="train", data_dir=data_dir).as_numpy_iterator())
    return {key: np.stack([example[key] for example in examples]) for key in keys}


@pytest.mark.parametrize("in_memory", [True, False])
def test_every_kind_of_feature_becomes_a_key(data_dir, in_memory):
    source = load(data_dir, in_memory=in_memory, extra=("depth", *PLAIN))
    expected = read(data_dir, "image", "depth", *PLAIN)
    assert source.spec == {
        "image": ((6, 8, 3), "uint8"),
        "depth": ((6, 8, 1), "uint8"),
        "far": ((6, 8, 1), "uint16"),
        "mask": ((6, 8), "int32"),
        "box": ((4,), "float32"),
        "vector": ((5,), "float32"),
        "flag": ((), "bool"),
        "kind": ((), "int64"),
        "label": ((), "int32"),
        "id": ((), "int32"),
    }
    expected |= {"label": expected["kind"], "id": np.arange(20)}
    batches = list(source.in_order(7))
    found = source.examples(range(20))
    for key, (shape, dtype) in source.spec.items():
        assert found[key].shape == (20, *shape) and found[key].dtype == dtype, key
        np.testing.assert_array_equal(found[key], expected[key])
        whole = np.concatenate([batch[key] for batch in batches])
        assert whole.dtype == dtype
        np.testing.assert_array_equal(whole, expected[key])
    np.testing.assert_array_equal(source.fetch([3, 1]), expected["image"][[3, 1]])
    assert {key: len(value) for key, value in source.examples([]).items()} == dict.fromkeys(source.spec, 0)
    assert source.class_count == 2 and source.image_shape == (6, 8, 3) and source.in_memory == in_memory


def test_maps_are_fitted_like_images(data_dir):
    for name in ("zoo_paired", "zoo_paired_ragged"):
        both = load(data_dir, name=name, size=5)
        alone = load(data_dir, name=name, size=5, image="depth", extra=())
        assert both.spec["depth"] == ((5, 5, 1), "uint8") and alone.image_shape == (5, 5, 1)
        np.testing.assert_array_equal(both.examples(range(20))["depth"], alone.images)
        plain = load(data_dir, name=name, size=5, extra=())
        np.testing.assert_array_equal(plain.images, both.images)
    fitted = images.fitted(tf.constant(read(data_dir, "depth")["depth"]), 5)
    np.testing.assert_array_equal(load(data_dir, size=5).examples(range(20))["depth"], fitted)
    # The channels are the image's; the size is of all maps and of nothing else.
    other = load(data_dir, size=5, channels=1, extra=("depth", "mask"))
    assert [other.spec[key][0] for key in ("image", "depth", "mask")] == [(5, 5, 1), (5, 5, 1), (6, 8)]


def test_parts_of_a_source_keep_them(data_dir):
    memory, disk = (load(data_dir, in_memory=held, extra=("depth", "box")) for held in (True, False))
    expected = memory.examples([3, 1])
    for source in (memory.subset([3, 1]), disk.subset([3, 1]), disk.subset([3, 1]).decoded()):
        for key, values in source.examples([0, 1]).items():
            np.testing.assert_array_equal(values, expected[key])
    for kept, streamed in zip(memory.batches(6, 1, 2, 5), disk.batches(6, 1, 2, 5), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, kept, streamed)


@pytest.mark.parametrize("in_memory", [True, False])
def test_data_without_images(data_dir, in_memory):
    source = load(data_dir, name="zoo_vectors", extra=("x",), in_memory=in_memory)
    assert list(source.spec) == ["x", "label", "id"] and source.labels is None and source.class_count == 0
    (batch,) = source.batches(4, 0, steps=1)
    np.testing.assert_array_equal(batch["x"], read(data_dir, "x", name="zoo_vectors")["x"][batch["id"].numpy()])
    np.testing.assert_array_equal(batch["label"], [-1] * 4)
    for use in (lambda: source.image_shape, lambda: source.fetch([0])):
        with pytest.raises(ValueError, match="expected zoo_vectors to have a key 'image'"):
            use()
    with pytest.raises(ValueError, match="expected a feature that is an image, or `extra`"):
        load(data_dir, name="zoo_vectors", extra=())


@pytest.mark.parametrize("form", ["whole.npz", "folder"])
def test_an_export_has_them(data_dir, tmp_path, form):
    from zoo.tools import data

    out = tmp_path / form
    flags = [f"--data_dir={data_dir}", f"--out={out}", "--extra=depth,mask,box", "--size=5"]
    assert data.main(data.parser().parse_args(["export", "zoo_paired", *flags])) == 0
    original = load(data_dir, size=5, extra=("depth", "mask", "box"), split="train[3:]+test")
    found = sources.load(f"arrays:{out}", "train[3:]+test")
    assert found.spec == original.spec and found.classes == ["x", "y"]
    for key, values in original.examples(range(found.size)).items():
        np.testing.assert_array_equal(found.examples(range(found.size))[key], values)
    assert list(sources.load(f"arrays:{out}", extra=("box",)).spec) == ["image", "box", "label", "id"]
    with pytest.raises(ValueError, match="Did you mean 'depth'"):
        sources.load(f"arrays:{out}", extra=("dept",))
    with pytest.raises(ValueError, match="expected image='depth'.*made with image=None"):
        sources.load(f"arrays:{out}", image="depth")


def test_an_export_of_format_1_is_read(tmp_path):
    meta = {"format": 1, "name": "old", "size": None, "channels": None, "modalities": None}
    meta |= {"classes": ["x", "y"], "splits": {"train": 2}}
    members = {"image.train": np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1), "label.train": np.array([1, -1])}

    def written(**changes):
        text = json.dumps(meta | changes).encode()
        np.savez_compressed(tmp_path / "old.npz", meta=np.frombuffer(text, np.uint8), **members)
        return f"arrays:{tmp_path}/old.npz"

    source = sources.load(written())
    np.testing.assert_array_equal(source.images, members["image.train"])
    np.testing.assert_array_equal(source.labels, [1, -1])
    with pytest.raises(ValueError, match="its images are image, depth joined along their channels"):
        sources.load(written(modalities={"image": 3, "depth": 1}))
    with pytest.raises(ValueError, match="format 1 or 2. Received: format=3"):
        sources.load(written(format=3))


def damage(source, of):
    index = source._store.index
    read = index.read

    def damaged(positions):
        found = read(positions)
        for row, position in enumerate(positions):
            if position == 7:
                found[row] = of(found[row])
        return found

    index.read = damaged


def test_a_damaged_map_is_named(data_dir):
    source = load(data_dir, in_memory=False)

    def broken(whole):
        at = whole.index(b"PNG", whole.index(b"depth"))
        return whole[:at] + b"GNP" + whole[at + 3 :]

    damage(source, broken)
    with pytest.raises(ValueError, match="depth of record 7 of the dataset"):
        source.decoded()


def test_a_missing_feature_is_named(data_dir):
    source = load(data_dir, in_memory=False, extra=("vector",))
    damage(source, lambda whole: whole.replace(b"vector", b"victor"))
    with pytest.raises(ValueError, match="record 7 of the dataset.*vector"):
        source.examples([6, 7])
    with pytest.raises(tf.errors.OpError, match="record 7 of the dataset"):
        list(source.in_order(10))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"extra": ("dept",)}, "`extra` to be one of 'depth', .*Received: extra='dept'. Did you mean 'depth'"),
        ({"extra": ("title",)}, "static shape and a numeric type. Received: 'title'"),
        ({"extra": ("boxes",)}, "static shape and a numeric type. Received: 'boxes'"),
        ({"extra": ("nested",)}, "static shape and a numeric type. Received: 'nested'"),
        ({"extra": ("label",)}, "`extra` without 'image', 'label', 'id'"),
        ({"extra": ("depth", "depth")}, "expected `extra` to be names"),
        ({"extra": "depth"}, "expected `extra` to be names"),
        ({"extra": (1,)}, "expected `extra` to be names"),
        ({"image": "depth"}, "`image` to be the name of a feature that is not in `extra`"),
        ({"image": "far"}, "`image` to be one of 'image', 'depth', 'label'"),
        ({"image": "imag"}, "Did you mean 'image'"),
        ({"name": "digits"}, "'digits' has one image"),
        ({"name": "zoo_paired_ragged"}, "expected `size`"),
    ],
)
def test_refuses(data_dir, wrong, message):
    with pytest.raises(ValueError, match=message):
        load(data_dir, **wrong)


def test_a_folder_has_none(tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match="has one image"):
        sources.load(f"folder:{tmp_path}", image="image")
