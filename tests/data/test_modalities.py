import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from zoo.data import sources


class ZooPaired(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        ragged = "Ragged" in type(self).__name__
        features = {
            "image": tfds.features.Image(shape=(None, None, 3) if ragged else (6, 8, 3)),
            "depth": tfds.features.Image(shape=(None, None, 1) if ragged else (6, 8, 1)),
            "label": tfds.features.Image(shape=(5, 8, 1)),  # neither a class nor of that size
            "far": tfds.features.Image(shape=(6, 8, 1), dtype=np.uint16),
            "kind": tfds.features.ClassLabel(names=["x", "y"]),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "kind")
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        random = np.random.default_rng(0)
        ragged = "Ragged" in type(self).__name__
        for number in range(20):
            height = 6 + ragged * (number % 3)
            yield (
                number,
                {
                    "image": random.integers(0, 256, (height, 8, 3), dtype=np.uint8),
                    "depth": random.integers(0, 256, (height, 8, 1), dtype=np.uint8),
                    "label": np.zeros((5, 8, 1), np.uint8),
                    "far": np.zeros((6, 8, 1), np.uint16),
                    "kind": number % 2,
                },
            )


class ZooPairedRagged(ZooPaired):
    pass


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for name in ("zoo_paired", "zoo_paired_ragged"):
        tfds.builder(name, data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


def load(data_dir, **options):
    return sources.load(**{"name": "zoo_paired", "data_dir": data_dir, "modalities": ("image", "depth"), **options})


@pytest.mark.parametrize("in_memory", [True, False])
def test_one_after_the_other_along_the_channels(data_dir, in_memory):
    examples = list(tfds.load("zoo_paired", split="train", data_dir=data_dir).as_numpy_iterator())
    source = load(data_dir, in_memory=in_memory)
    assert source.image_shape == (6, 8, 4) and source.in_memory == in_memory
    assert source.modalities == {"image": 3, "depth": 1}
    expected = [np.concatenate([example["image"], example["depth"]], -1) for example in examples]
    np.testing.assert_array_equal(source.fetch(range(20)), expected)
    np.testing.assert_array_equal(source.labels, [example["kind"] for example in examples])
    turned = load(data_dir, in_memory=in_memory, modalities=["depth", "image"])
    assert list(turned.modalities.items()) == [("depth", 1), ("image", 3)]
    np.testing.assert_array_equal(turned.fetch(range(20)), np.roll(expected, 1, axis=-1))


def test_each_is_fitted_as_it_would_be_alone(data_dir):
    for name in ("zoo_paired", "zoo_paired_ragged"):
        both = load(data_dir, name=name, size=5)
        assert both.image_shape == (5, 5, 4)
        alone = [load(data_dir, name=name, size=5, modalities=[part]) for part in ("image", "depth")]
        np.testing.assert_array_equal(both.images, np.concatenate([part.images for part in alone], -1))
    plain = load(data_dir, name=name, size=5, modalities=None)
    np.testing.assert_array_equal(plain.images, both.images[..., :3])
    assert plain.modalities is None


def test_parts_of_a_source_keep_them(data_dir):
    memory, disk = (load(data_dir, in_memory=held) for held in (True, False))
    for source in (memory.subset([3, 1]), disk.subset([3, 1]), disk.subset([3, 1]).decoded()):
        assert source.modalities == {"image": 3, "depth": 1} and source.image_shape == (6, 8, 4)
        np.testing.assert_array_equal(source.fetch([0, 1]), memory.images[[3, 1]])
    for one, two in zip(memory.batches(6, 1, 2, 5), disk.batches(6, 1, 2, 5), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, two)


def test_a_damaged_image_is_named(data_dir):
    source = load(data_dir, in_memory=False)
    index = source._store.index
    read = index.read

    def damaged(positions):
        found = read(positions)
        for row, position in enumerate(positions):
            if position == 7:
                whole = found[row]
                at = whole.index(b"PNG", whole.index(b"depth"))
                found[row] = whole[:at] + b"GNP" + whole[at + 3 :]
        return found

    index.read = damaged
    with pytest.raises(ValueError, match="depth of record 7 of the dataset"):
        source.decoded()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"modalities": ("image", "dept")}, "among image, depth, label. Received: 'dept'.*Did you mean 'depth'"),
        ({"modalities": ("image", "kind")}, "'kind', which is no uint8 image"),
        ({"modalities": ("image", "far")}, "'far', which is no uint8 image"),
        ({"modalities": ("image", "label")}, "of one height and width"),
        ({"modalities": ("image", "image")}, "each modality once"),
        ({"modalities": "image"}, "expected the names"),
        ({"modalities": ()}, "expected the names"),
        ({"channels": 3}, "with the channels they have"),
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
        sources.load(f"folder:{tmp_path}", modalities=("image",))
