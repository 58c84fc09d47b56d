import logging
import socket
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from zoo.data import builders, sources


class ZooTiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3) if "Ragged" in type(self).__name__ else (7, 9, 3)),
            "label": tfds.features.ClassLabel(names=["x", "y", "z"]),
            "name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {"test": self._generate_examples(8, 1), "train": self._generate_examples(31, 2)}

    def _generate_examples(self, count, seed):
        random = np.random.default_rng(seed)
        for number in range(count):
            shape = (7, 9 + ("Ragged" in type(self).__name__) * (number % 3), 3)
            image = random.integers(0, 256, shape, dtype=np.uint8)
            yield number, {"image": image, "label": number % 3, "name": str(number)}


class ZooRagged(ZooTiny):
    pass


class ZooUnreachable(ZooTiny):
    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to host")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for name in ("zoo_tiny", "zoo_ragged"):
        config = tfds.download.DownloadConfig(num_shards=3)
        tfds.builder(name, data_dir=folder).download_and_prepare(download_config=config)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("split", ["train", "test", "train[10%:60%]", "train[20:]+test[:3]", "train[1shard:]"])
def test_is_what_tfds_reads(data_dir, split, in_memory):
    source = sources.load("zoo_tiny", split, data_dir=data_dir, in_memory=in_memory)
    config = tfds.ReadConfig(interleave_cycle_length=1)
    expected = list(tfds.load("zoo_tiny", split=split, data_dir=data_dir, read_config=config).as_numpy_iterator())
    assert source.size == len(expected) and source.in_memory == in_memory
    np.testing.assert_array_equal(source.fetch(range(source.size)), [example["image"] for example in expected])
    np.testing.assert_array_equal(source.labels, [example["label"] for example in expected])
    assert source.classes == ["x", "y", "z"]


@pytest.mark.parametrize("in_memory", [True, False])
def test_images_of_too_many_pixels_are_refused(data_dir, in_memory):
    arguments = {"data_dir": data_dir, "in_memory": in_memory}
    assert sources.load("zoo_tiny", "test", max_pixels=63, **arguments).fetch([0]).shape == (1, 7, 9, 3)
    with pytest.raises(ValueError, match=r"at most 62 pixels. Received: image of record 0 .*or raise `max_pixels`"):
        sources.load("zoo_tiny", "test", max_pixels=62, **arguments).fetch([0])


def test_ids_are_positions_train_first(data_dir):
    load = lambda split: sources.load("zoo_tiny", split, data_dir=data_dir)  # noqa: E731
    np.testing.assert_array_equal(load("train[10:20]").ids, np.arange(10, 20))
    np.testing.assert_array_equal(load("test").ids, np.arange(31, 39))
    whole, part = load("train+test"), load("test[2:4]+train[5:9]")
    np.testing.assert_array_equal(part.images, whole.images[part.ids])


def test_streamed_is_in_memory(data_dir):
    for options in ({}, {"size": 5, "channels": 1}):
        memory, disk = (
            sources.load("zoo_tiny", "train[3:]", data_dir=data_dir, in_memory=held, **options)
            for held in (True, False)
        )
        assert memory.image_shape == disk.image_shape
        np.testing.assert_array_equal(memory.ids, disk.ids)
        for kept, streamed in zip(memory.batches(6, 1, 3, 9), disk.batches(6, 1, 3, 9), strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, kept, streamed)
        for kept, streamed in zip(memory.in_order(11), disk.in_order(11), strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, kept, streamed)
        part = disk.subset([20, 1])
        np.testing.assert_array_equal(part.fetch([0, 1]), memory.images[[20, 1]])
        np.testing.assert_array_equal(part.labels, memory.labels[[20, 1]])


def test_several_shapes_need_a_size(data_dir):
    with pytest.raises(ValueError, match="expected `size`"):
        sources.load("zoo_ragged", data_dir=data_dir)
    assert sources.load("zoo_ragged", size=6, data_dir=data_dir).images.shape == (31, 6, 6, 3)


def test_labels_of_a_stream_are_not_known_before_somebody_reads_them(data_dir):
    source = sources.load("zoo_tiny", data_dir=data_dir, in_memory=False)
    assert source.known_labels is None
    np.testing.assert_array_equal(source.labels, source.known_labels)


def test_a_damaged_record_is_named(data_dir, tmp_path):
    source = sources.load("zoo_tiny", data_dir=data_dir, in_memory=False)
    index = source._store.index
    read = index.read

    def damaged(positions):
        found = read(positions)
        for row, position in enumerate(positions):
            if position == 17:
                found[row] = found[row].replace(b"PNG", b"GNP")
        return found

    index.read = damaged
    with pytest.raises(ValueError, match=r"record 17 of the dataset, in .*zoo_tiny-train"):
        source.decoded()


def test_unreachable_data(tmp_path):
    with pytest.raises(FileNotFoundError, match="no route to host.*`zoo-data prepare zoo_unreachable`"):
        sources.load("zoo_unreachable", data_dir=tmp_path)


def test_unreachable_data_that_a_package_holds(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(FileNotFoundError, match="zoo-data import fashion_mnist --from="):
        sources.load("fashion_mnist", data_dir=tmp_path)


def test_hosts_that_nobody_knows_are_not_tried_for_minutes(tmp_path, monkeypatch):
    def unknown(host, port):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(builders.urllib.request, "getproxies", dict)
    fail = mock.Mock(side_effect=ConnectionError("tried for minutes"))
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(FileNotFoundError, match="no address of www.cs.toronto.edu, .*zoo-data prepare cifar10"):
        sources.load("cifar10", data_dir=tmp_path)
    assert not fail.called
    # Files that are there already, such as those of a package, need no host.
    (tmp_path / "downloads" / "cifar10").mkdir(parents=True)
    (tmp_path / "downloads" / "cifar10" / "x.tar.gz.INFO").touch()
    with pytest.raises(FileNotFoundError, match="tried for minutes"):
        sources.load("cifar10", data_dir=tmp_path)


def test_did_you_mean(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds, "list_builders", lambda **_: ["cifar10", "zoo_tiny"])
    with pytest.raises(ValueError, match="Did you mean 'zoo_tiny'"):
        builders.found("zoo_tny", tmp_path)


# Of 31 and 8 examples, whose labels go 0, 1, 2, 0, ... until TFDS shuffles them.
SLICES = ["train[:1]", "train[:2]", "train[3:5]", "train[:5]", "test[-2:]", "train[:1]+test[:1]", "train[:50%]"]


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("split", ["train", "test", "all", "train+test", *SLICES])
def test_a_slice_that_lacks_classes_warns_once(data_dir, split, in_memory, caplog):
    caplog.set_level(logging.WARNING)
    source = sources.load("zoo_tiny", split, data_dir=data_dir, in_memory=in_memory)
    if not in_memory:
        assert not caplog.records  # labels take a pass over the files, so they are looked at when they are needed
    lacking = sorted(set(range(3)).difference(source.labels.tolist()))
    assert source.subset([0]).labels is not None  # few examples on purpose
    names = ", ".join("xyz"[label] for label in lacking)
    expected = [f"zoo_tiny {split} lacks {len(lacking)} of the 3 classes that zoo_tiny names: {names}."]
    assert [record.getMessage() for record in caplog.records] == (expected if lacking else [])
    assert lacking or source.size > 2


def test_slices_by_instructions_of_tfds_warn_too(data_dir, caplog):
    for split in tfds.even_splits("train", 16):
        sources.load("zoo_tiny", split, data_dir=data_dir)
    assert len(caplog.records) == 16 and all("of the 3 classes that" in found.getMessage() for found in caplog.records)
