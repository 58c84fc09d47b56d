import functools
import itertools
import json
import logging
import os
import pathlib
import re
import types
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from zoo.data import folders, readers, sources, splits, stores
from zoo.methods import simclr
from zoo.models import convnet, heads
from zoo.train import loop, schedules
from zoo.views import geometry, view

# What a file system may hand out as the name of a picture or of a class.
NAMES = (
    "zebra",
    "two words",
    " leading",
    "ümläut",
    "日本語",
    "quote'\"",
    "a+b[1:2]",
    "dots.in.name",
    "new\nline",
    "%s %d {}",
)


def draw(root, *names, shape=(8, 10, 3)):
    """Writes one image per name, each of another random content."""
    for name in names:
        path = pathlib.Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(list(os.fsencode(name)))
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return f"folder:{root}"


def touch(root, names):
    """Makes empty files, which suffice where no image is decoded."""
    for name in names:
        path = pathlib.Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def grid(folders_, classes=("a", "b"), count=6):
    """Names `folder/class/number.png`."""
    return [f"{folder}{name}/{number}.png" for folder in folders_ for name in classes for number in range(count)]


# Layout: files, number of images by split, classes, and what the notes say.
LAYOUTS = {
    "images": ([f"{i}.png" for i in range(9)], {"train": 9}, None, []),
    "one folder": (grid([""], ["a"]), {"train": 6}, None, []),
    "classes": (grid([""]), {"train": 12}, "ab", []),
    "splits of images": (
        [f"{split}/{i}.png" for split in ("train", "test") for i in range(5)],
        {"train": 5, "test": 5},
        None,
        [],
    ),
    "splits of classes": (grid(["train/", "test/", "val/"]), dict.fromkeys(("train", "test", "val"), 12), "ab", []),
    "train alone": (grid(["train/"]), {"train": 12}, "ab", []),
    "capitals": (grid(["Train/", "Test/"]), {"train": 12, "test": 12}, "ab", []),
    "both cases": (grid(["Train/", "train/"]), {"train": 24}, "ab", ["Train/, train/ together are the split train"]),
    "a class of trains": (grid([""], ["bus", "train"]), {"train": 12}, ["bus", "train"], []),
    "stray": ([*grid([""]), "preview.png"], {"train": 13}, None, ["1 of 13 .*, such as preview.png"]),
    "extra folder": (
        [*grid(["train/", "test/"]), "docs/figure.png"],
        {"train": 25},
        None,
        ["test/, train/ would be splits .*, such as docs/figure.png", "train has no labels"],
    ),
    "extra folder of images": (
        ["train/1.png", "test/1.png", "docs/1.png"],
        {"train": 3},
        ["docs", "test", "train"],
        ["test/, train/ would be splits .*, such as docs/1.png"],
    ),
    "stray beside splits": (
        [*grid(["TRAIN/", "test/"]), "preview.png"],
        {"train": 25},
        None,
        ["TRAIN/, test/ would be splits .*, such as preview.png", "train has no labels"],
    ),
    "sessions": (
        [f"{name}/{day}/{i}.png" for name in "ab" for day in ("monday", "tuesday") for i in range(3)],
        {"train": 12},
        None,
        ["train has no labels, as 12 of 12 .*, such as a/monday/0.png"],
    ),
    "two depths": (
        ["a/b/1.png", "c/1.png"],
        {"train": 2},
        None,
        ["train has no labels, as 1 of 2 .*, such as a/b/1.png"],
    ),
    "stray in a split": (
        [*grid(["train/", "test/"]), "test/preview.png"],
        {"train": 12, "test": 13},
        "ab",
        ["test has no labels, as 1 of 13 .*, such as test/preview.png"],
    ),
    "unlabeled": ([*grid(["train/"]), "Unlabeled/deep/er/1.png"], {"train": 12, "unlabeled": 1}, "ab", []),
    "no train": (
        grid(["val/", "test/"]),
        {"test": 12, "val": 12},
        "ab",
        ["there is no split train, only test, val"],
    ),
    "new class": (
        [*grid(["train/"]), *grid(["test/"], "abz", 4)],
        {"train": 12, "test": 12},
        "abz",
        [r"test has classes that train has no image of: z \(4 of 12 images\)"],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, tmp_path):
    names, counts, classes, notes = LAYOUTS[layout]
    found = folders.listing(touch(tmp_path, names))
    assert sorted(found.paths) == sorted(names)
    assert found.counts == counts and list(found.counts) == splits.ordered(counts)
    assert found.classes == (classes and list(classes))
    assert len(found.notes) == len(notes), found.notes
    for note, expected in zip(found.notes, notes, strict=True):
        assert re.search(expected, note), note
    assert ("all images form the split train" in found.layout) == ("are splits" not in found.layout)
    assert ("are classes" in found.layout) == bool(classes)
    assert found.passed_over == {} and found.unusable == {}
    # Ids count through the splits one after another, and a label is the place of the name of the folder.
    depth = int("are splits" in found.layout)
    for split, start in zip(found.counts, splits.offsets(found.counts), strict=True):
        for row in range(start, start + found.counts[split]):
            path = found.paths[row].split("/")
            assert not depth or path[0].lower() == split
            if classes and found.labels[row] >= 0:
                assert path[depth] == found.classes[found.labels[row]] and len(path) == depth + 2


@pytest.mark.parametrize(
    "case", [str.lower, str.upper, str.title, str.swapcase, lambda name: name[:2] + name[2:].upper()]
)
def test_splits_in_any_case_of_letters(case, tmp_path):
    names = sorted(folders._SPLITS)
    found = folders.listing(touch(tmp_path, grid([f"{case(name)}/" for name in names])))
    assert found.counts == {name: 12 for name in splits.ordered(names)} and found.classes == ["a", "b"]
    assert all(path.startswith(tuple(map(case, names))) for path in found.paths)


@pytest.mark.parametrize(
    "suffix", sorted({case(end) for end in folders.EXTENSIONS for case in (str, str.upper, str.title)})
)
def test_names_as_file_systems_have_them(suffix, tmp_path):
    names = [f"{name}/{picture}{suffix}" for name in NAMES for picture in NAMES]
    found = folders.listing(touch(tmp_path, names))
    assert sorted(found.paths) == sorted(names) and found.classes == sorted(NAMES)
    assert [found.classes[label] for label in found.labels] == [path.split("/")[0] for path in found.paths]
    assert "\n" not in found.layout


def test_the_order_depends_on_the_names_alone(tmp_path, monkeypatch):
    names = [f"{name}/{picture}.png" for name in NAMES for picture in NAMES]
    first = folders.listing(touch(tmp_path / "first", names))
    again = folders.listing(touch(tmp_path / "again", reversed(names)))
    composed = [unicodedata.normalize("NFD", name) for name in names]
    decomposed = folders.listing(touch(tmp_path / "decomposed", composed))
    assert composed != names and first.paths == again.paths != sorted(first.paths)
    assert first.paths == [unicodedata.normalize("NFC", path) for path in decomposed.paths]
    np.testing.assert_array_equal(first.labels, decomposed.labels)

    class Backwards:
        def __init__(self, folder):
            self.entries = list(reversed(list(scan(folder))))

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            pass

    scan = os.scandir
    monkeypatch.setattr(os, "scandir", Backwards)
    assert folders.listing(tmp_path / "first").paths == first.paths


def test_the_order_is_the_same_for_ever(tmp_path):
    # Other numbers mean that `train[:90%]` of every folder has become another set of images.
    paths = folders.listing(touch(tmp_path, [f"{letter}.png" for letter in "abcdefgh"])).paths
    assert "".join(path[0] for path in paths) == "hagfcbde"


SLICED = [
    (layout, split)
    for layout, (_, counts, _, _) in LAYOUTS.items()
    for split in counts
    if all(counts[split] * percent // 100 for percent in (25, 50))
]


@pytest.mark.parametrize(("layout", "split"), SLICED)
@pytest.mark.parametrize("bound", ["25%", "50%", "90%", "1", "-1"])
def test_slices_are_a_partition(layout, split, bound, tmp_path):
    names, counts, _, _ = LAYOUTS[layout]
    found = folders.listing(touch(tmp_path, names))
    whole, *parts = (splits.rows(split + part, found.counts, "x") for part in ("", f"[:{bound}]", f"[{bound}:]"))
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert len(whole) == counts[split]
    for rows in parts:
        np.testing.assert_array_equal(rows, np.arange(rows[0], rows[0] + len(rows)))  # as memory banks need them


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("layout", ["{name}/{i}.png", "Train/{name}/{i}.png"])
@pytest.mark.parametrize(
    "bounds", [("[:50%]", "[50%:]"), ("[:90%]", "[90%:]"), ("[:10%]", "[10%:]"), ("[:40]", "[-40:]")]
)
def test_slices_hold_every_class(classes, layout, bounds, tmp_path, caplog):
    names = [layout.format(name=f"class{number}", i=i) for number in range(classes) for i in range(50)]
    found = folders.listing(touch(tmp_path, names))
    for bound in bounds:
        rows = splits.rows(f"train{bound}", found.counts, "x")
        assert set(found.labels[rows]) == set(range(classes))
        splits.report_lacking(rows, found.counts, found.labels, found.classes, "x")
    assert not caplog.records
    # A sample, not a pattern: the shares of the classes vary as those of a random draw do.
    half = np.bincount(found.labels[: 25 * classes])
    assert np.all(np.abs(half - 25) < 4 * np.sqrt(50 / 4))


def test_halves_of_a_folder_that_is_sorted_by_class(tmp_path):
    name = draw(tmp_path, *grid([""], "ab", 10))
    whole, first, second = (sources.load(name, split) for split in ("train", "train[:50%]", "train[50%:]"))
    np.testing.assert_array_equal(np.concatenate([first.images, second.images]), whole.images)
    np.testing.assert_array_equal(np.concatenate([first.ids, second.ids]), np.arange(20))
    assert set(first.labels) == set(second.labels) == {0, 1}
    assert len(np.unique(whole.images, axis=0)) == 20
    # The first images, which monitors watch, are a sample as well.
    assert len(set(whole.labels[:6])) == 2


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train", None),
        ("train+test", None),
        ("train[:50%]", None),
        ("train[:1]", "train[:1] lacks 1 of the 2 classes that train has: "),
        ("train[:1]+test", None),
        ("train[:1]+test[:1]", "train[:1]+test[:1] lacks 2 of the 4 classes that train and test have: "),
    ],
)
def test_a_slice_that_lacks_classes_warns_once(split, message, tmp_path, caplog):
    name = draw(tmp_path, *grid(["train/"]), *grid(["test/"], ["a", "b", "two words", "z"], 1))
    caplog.set_level(logging.WARNING)
    source = sources.load(name, split)
    found = [record.getMessage() for record in caplog.records if " lacks " in record.getMessage()]
    if message is None:
        assert not found
        return
    (text,) = found
    assert text.startswith(f"{name} {message}")
    held = {source.classes[label] for label in source.labels}
    assert not held & set(text.removesuffix(".").split(": ")[-1].split(", "))


def test_what_may_not_be_meant_is_logged(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    name = draw(tmp_path, *grid(["train/"]), *grid(["test/"], "abz", 1))
    sources.load(name, "test")
    assert [record.getMessage() for record in caplog.records] == [
        f"{name}: test has classes that train has no image of: z (1 of 3 images)."
    ]
    with pytest.raises(ValueError, match="expected splits train, test or slices.*no split 'val'"):
        sources.load(name, "val")
    draw(tmp_path, "docs/figure.png")
    sources.load(name)
    assert "test/, train/ would be splits" in caplog.text and "docs/figure.png" in caplog.text


def test_without_a_train_split(tmp_path):
    name = draw(tmp_path, *grid(["Val/", "test/"]))
    assert sources.load(name, "val").size == 12
    with pytest.raises(ValueError, match="expected splits test, val or slices.*there is no split 'train'"):
        sources.load(name)


def test_what_is_passed_over(tmp_path):
    draw(tmp_path, "b/1.png", "a/2.JPG", "a/1.jpeg", ".hidden/x.png", "b/.x.png", "__MACOSX/b/1.png")
    touch(tmp_path, ["a/notes.txt", "b/more.TXT", "LICENSE", "scans/page.heic", "empty/deep/Thumbs.db"])
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = folders.listing(tmp_path)
    assert sorted(found.paths) == ["a/1.jpeg", "a/2.JPG", "b/1.png"] and found.classes == ["a", "b"]
    assert found.passed_over == {
        "hidden files and folders": (3, ".hidden"),
        "files ending in .txt": (2, "a/notes.txt"),
        "files ending in .heic": (1, "scans/page.heic"),
        "files ending in .db": (1, "empty/deep/Thumbs.db"),
        "files without a suffix": (1, "LICENSE"),
        "folders without images": (3, "empty/"),
        "links that lead back up": (1, "a/loop/"),
    }


def test_splits(tmp_path):
    name = draw(tmp_path, "train/a/1.png", "train/b/1.png", "test/b/1.png", "test/b/2.png", "unlabeled/deep/er/1.png")
    train, test, extra = (sources.load(name, split) for split in ("train", "test", "unlabeled"))
    assert train.classes == test.classes == ["a", "b"] and extra.classes is None and extra.labels is None
    np.testing.assert_array_equal(test.labels, [1, 1])
    # Ids count through the splits one after another: train, test, unlabeled.
    np.testing.assert_array_equal(train.ids, [0, 1])
    np.testing.assert_array_equal(test.ids, [2, 3])
    np.testing.assert_array_equal(sources.load(name, "test+train").ids, [2, 3, 0, 1])
    np.testing.assert_array_equal(sources.load(name, "test[50%:]").images, test.images[1:])


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


def test_images_keep_their_names_and_labels(tmp_path):
    names = [f"{name}/{picture}.png" for name, picture in itertools.product(NAMES[:4], NAMES)]
    source = sources.load(draw(tmp_path, *names))
    for path, image, label in zip(folders.listing(tmp_path).paths, source.images, source.labels, strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(tmp_path / path)))
        assert source.classes[label] == path.split("/")[0]


@pytest.mark.parametrize("content", [b"", b"no image", "cut"])
def test_a_broken_image_is_named(tmp_path, content):
    name = draw(tmp_path, *(f"{i}.png" for i in range(9)))
    paths = folders.listing(tmp_path).paths
    row = 4  # the first image gives the shape
    broken = tmp_path / paths[row]
    content = broken.read_bytes()[:100] if content == "cut" else content
    broken.write_bytes(content)
    pattern = rf"file='.*/{paths[row]}'.*[Rr]epair or remove"
    with pytest.raises(ValueError, match=pattern):
        sources.load(name)
    disk = sources.load(name, in_memory=False)
    with pytest.raises(ValueError, match=pattern):
        disk.fetch([2, row])
    with pytest.raises(tf.errors.OpError, match=pattern):
        list(disk.batches(3, seed=0, steps=3))
    assert disk.fetch([2, 5]).shape == (2, 8, 10, 3)
    assert broken.read_bytes() == content


# What a file with the name of an image may be instead of an image.
BROKEN = {
    "empty.png": lambda path: path.write_bytes(b""),
    "text.jpg": lambda path: path.write_text("no image"),
    "cut.jpeg": lambda path: (draw(path.parent, path.name), path.write_bytes(path.read_bytes()[:200])),
    "half.png": lambda path: (draw(path.parent, path.name), path.write_bytes(path.read_bytes()[:150])),
    "dangling.gif": lambda path: path.symlink_to("nothing"),
    "itself.png": lambda path: path.symlink_to(path.name),
    "pipe.bmp": os.mkfifo,
    "caf\udce9.png": lambda path: draw(path.parent, path.name),
}


@pytest.fixture
def damaged(tmp_path):
    """A folder of two classes with every kind of broken file, and the relative paths of these."""
    name = draw(tmp_path / "images", *grid([""], count=10))
    broken = [f"{'ab'[index % 2]}/{kind}" for index, kind in enumerate(BROKEN)]
    for path in broken:
        BROKEN[path[2:]](tmp_path / "images" / path)
    return name, broken


def test_all_broken_files_are_found_at_once(damaged, monkeypatch, caplog):
    name, broken = damaged
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(readers, "time", types.SimpleNamespace(monotonic=itertools.count(step=11).__next__))
    reasons = dict(readers.examined(folders.listing(name.removeprefix("folder:")), stores.AS_STATED))
    assert len(reasons) == 20 + len(broken)
    assert {path for path, reason in reasons.items() if reason} == set(broken)
    assert re.search(r"Checked \d+ of \d+ images, 0 s left", caplog.text)  # every 10 s
    with pytest.raises(ValueError, match=r"expected images that can be read.*pipe\.bmp \(expected a regular file\)"):
        sources.load(name)


def test_broken_files_are_skipped_as_if_they_were_not_there(damaged, tmp_path, caplog):
    name, broken = damaged
    caplog.set_level(logging.WARNING)
    intact = draw(tmp_path / "intact", *grid([""], count=10))
    for split in ("train", "train[:50%]", "train[50%:]"):
        source, expected = sources.load(name, split, skip_broken=True), sources.load(intact, split)
        np.testing.assert_array_equal(source.images, expected.images)
        np.testing.assert_array_equal(source.labels, expected.labels)
        np.testing.assert_array_equal(source.ids, expected.ids)
        assert source.skipped == source.subset([0]).skipped == tuple(sorted(broken)) and expected.skipped == ()
    assert f"skipped {len(broken)} files that cannot be read: a/" in caplog.text
    assert not sources.load(intact, skip_broken=True).skipped


def test_what_was_skipped_is_recorded_with_the_run(damaged, tmp_path):
    name, broken = damaged
    data = sources.load(name, size=8, skip_broken=True)
    views = view.Views((view.Chain((geometry.Crop(8),)),) * 2)
    method = functools.partial(
        simclr.SimCLR,
        functools.partial(convnet.convnet, widths=(4,)),
        functools.partial(heads.projector, widths=(4,)),
    )
    schedule = schedules.WarmupCosine(0.1, "none", 0)
    loop.run(method, views, data, tmp_path / "run", schedule=schedule, epochs=1, batch_size=10)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["skipped"] == sorted(broken) and record["examples"] == 20


def test_an_export_keeps_what_was_skipped(damaged, tmp_path):
    from zoo.tools import data

    name, broken = damaged
    arguments = ["export", name, "--size=4", f"--out={tmp_path}/export"]
    assert data.main(data.parser().parse_args(arguments)) == 1
    assert data.main(data.parser().parse_args([*arguments, "--skip_broken"])) == 0
    source = sources.load(f"arrays:{tmp_path}/export", "train[:50%]")
    assert source.size == 10 and source.skipped == tuple(sorted(broken))


@pytest.mark.parametrize("wrong", [{"name": "digits", "skip_broken": True}, {"skip_broken": 1}, {"skip_broken": None}])
def test_only_broken_files_are_skipped(wrong):
    with pytest.raises(ValueError, match="`skip_broken` to be False, or True for a folder"):
        sources.load(**wrong)


def test_a_folder_of_broken_files_alone(tmp_path):
    touch(tmp_path, ["1.png", "2.png", "notes.txt"])
    with pytest.raises(ValueError, match=r"expected a file ending in .*files ending in .txt: 1, broken: 1.png, 2.png"):
        sources.load(f"folder:{tmp_path}", skip_broken=True)


def test_several_shapes_need_a_size(tmp_path):
    name = draw(tmp_path, "1.png", "2.png")
    draw(tmp_path, "3.png", shape=(9, 9, 3))
    with pytest.raises(ValueError, match=r"\d\.png' of \(\d+, \d+, 3\); pass `size`"):
        sources.load(name)
    with pytest.raises(ValueError, match="pass `size`"):
        sources.load(name, skip_broken=True)  # an image of another shape is not broken
    assert sources.load(name, size=5).images.shape == (3, 5, 5, 3)


def test_refuses(tmp_path):
    with pytest.raises(ValueError, match="expected an existing folder"):
        sources.load(f"folder:{tmp_path}/none")
    with pytest.raises(ValueError, match=r"expected a file ending in .*Received: folder='.*'\."):
        sources.load(f"folder:{tmp_path}")
    touch(tmp_path, ["page.heic", "more/page.heic"])
    with pytest.raises(ValueError, match=r"with files ending in .heic: 2"):
        sources.load(f"folder:{tmp_path}")
