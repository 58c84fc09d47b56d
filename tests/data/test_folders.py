import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from zoo.data import folders, sources


def draw(root, *names, shape=(8, 10, 3)):
    """Writes one image per name, each of another random content."""
    for name in names:
        path = pathlib.Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(abs(hash(name)) % 2**32)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return f"folder:{root}"


def test_classes(tmp_path):
    draw(tmp_path, "b/1.png", "a/2.JPG", "a/1.jpeg", ".hidden/x.png", "b/.x.png")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    found = folders.listing(tmp_path)
    assert found.paths == ["a/1.jpeg", "a/2.JPG", "b/1.png"]
    assert found.classes == ["a", "b"]
    np.testing.assert_array_equal(found.labels, [0, 0, 1])
    assert list(found.members) == ["train"]


@pytest.mark.parametrize(
    "names",
    [("1.png", "2.png"), ("a/1.png", "a/2.png"), ("a/1.png", "2.png"), ("a/b/1.png", "c/1.png")],
)
def test_without_classes(tmp_path, names):
    found = folders.listing(draw(tmp_path, *names).removeprefix("folder:"))
    assert found.classes is None and found.labels is None
    assert len(found.members["train"]) == 2


def test_splits(tmp_path):
    name = draw(tmp_path, "train/a/1.png", "train/b/1.png", "test/b/1.png", "test/b/2.png", "unlabeled/deep/er/1.png")
    train, test, extra = (sources.load(name, split) for split in ("train", "test", "unlabeled"))
    assert train.classes == test.classes == ["a", "b"] and extra.classes is None and extra.labels is None
    np.testing.assert_array_equal(test.labels, [1, 1])
    # Ids are places in the sorted list of all paths: test/b/1, test/b/2, train/a/1, train/b/1, unlabeled/...
    np.testing.assert_array_equal(train.ids, [2, 3])
    np.testing.assert_array_equal(test.ids, [0, 1])
    np.testing.assert_array_equal(sources.load(name, "train+test").ids, [2, 3, 0, 1])
    np.testing.assert_array_equal(sources.load(name, "test[50%:]").images, test.images[1:])


def test_a_class_of_trains_is_no_split(tmp_path):
    found = folders.listing(draw(tmp_path, "train/1.png", "bus/1.png").removeprefix("folder:"))
    assert found.classes == ["bus", "train"] and list(found.members) == ["train"]


def test_links_that_lead_back_up_end(tmp_path):
    draw(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert folders.listing(tmp_path).paths == ["a/1.png", "b/1.png"]


def test_streamed_is_in_memory(tmp_path):
    name = draw(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(5)))
    draw(tmp_path, "a/gray.png", shape=(9, 12))
    draw(tmp_path, "b/alpha.png", shape=(20, 8, 4))
    for channels in (1, 3):
        memory, disk = (sources.load(name, size=6, channels=channels, in_memory=held) for held in (True, False))
        assert memory.in_memory and not disk.in_memory and disk.images is None
        assert memory.image_shape == disk.image_shape == (6, 6, channels)
        np.testing.assert_array_equal(memory.labels, disk.labels)
        np.testing.assert_array_equal(memory.fetch([3, 11, 3]), disk.fetch([3, 11, 3]))
        for kept, streamed in zip(memory.batches(4, 0, 2, 5), disk.batches(4, 0, 2, 5), strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, kept, streamed)
        assert [len(batch["id"]) for batch in disk.in_order(5)] == [5, 5, 2]


@pytest.mark.parametrize("content", [b"", b"no image", "cut"])
def test_a_broken_image_is_named(tmp_path, content):
    name = draw(tmp_path, *(f"{i}.png" for i in range(9)))
    broken = tmp_path / "4.png"
    content = broken.read_bytes()[:100] if content == "cut" else content
    broken.write_bytes(content)
    with pytest.raises(ValueError, match=r"Received: file='.*4\.png'.*repair or remove"):
        sources.load(name)
    disk = sources.load(name, in_memory=False)
    with pytest.raises(ValueError, match=r"file='.*4\.png'"):
        disk.fetch([2, 4])
    with pytest.raises(tf.errors.OpError, match=r"file='.*4\.png'.*repair or remove"):
        list(disk.batches(3, seed=0, steps=3))
    assert disk.fetch([2, 5]).shape == (2, 8, 10, 3)
    assert broken.read_bytes() == content


def test_several_shapes_need_a_size(tmp_path):
    name = draw(tmp_path, "1.png", "2.png")
    draw(tmp_path, "3.png", shape=(9, 9, 3))
    with pytest.raises(ValueError, match=r"3\.png' of \(9, 9, 3\); pass `size`"):
        sources.load(name)
    assert sources.load(name, size=5).images.shape == (3, 5, 5, 3)


def test_refuses(tmp_path):
    with pytest.raises(ValueError, match="expected an existing folder"):
        sources.load(f"folder:{tmp_path}/none")
    with pytest.raises(ValueError, match="expected a file ending in"):
        sources.load(f"folder:{tmp_path}")
