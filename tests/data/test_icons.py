import base64
import functools
import hashlib
import http.server
import io
import json
import pathlib
import sys
import tarfile
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds

from zoo.data import builders, iconify, icons, packaged, sources, svg

pytest.importorskip("resvg_py")
GRAY32, COLOR64 = (config for config in icons.Icons.BUILDER_CONFIGS if config.name in ("gray32", "color64"))
CONCEPTS = [f"thing-{number}" for number in range(24)]
STYLES = 12


def described(title, author, spdx="MIT", **more):
    terms = {"title": f"The {spdx} License", "spdx": spdx, "url": f"https://{spdx}.example"}
    return {"name": title, "author": {"name": author, "url": f"https://{author}.example"}, "license": terms, **more}


def drawing(number, colors=False):
    """A body that no other number has: the bits of the number, as bars."""
    bars = "".join(f'<path d="M{bit} 0h1v{8 if number >> bit & 1 else 1}h-1z"/>' for bit in range(16))
    return f'<g fill="{"#c00" if colors else "currentColor"}">{bars}</g>'


def style(names, first, **more):
    bodies = {name: {"body": drawing(first + number)} for number, name in enumerate(names)}
    return {"icons": bodies, "width": 16, "height": 8, **more}


def package():
    """File name -> contents: twelve sets of the same concepts, and sets and icons of every kind that is left out."""
    sets, listing = {}, {}
    for number in range(STYLES):
        name = f"set{number:02d}"
        listing[name] = described(f"Set {number}", f"author{number // 2}", ("MIT", "CC-BY-4.0")[number % 2])
        sets[name] = style(CONCEPTS, 100 * number)
    # Variants of a set that declares them, and of one that does not.
    sets["set00"] = style([f"{name}-fill" for name in CONCEPTS], 2000, suffixes={"": "Line", "fill": "Fill"})
    sets["set00"]["icons"]["thing-0"] = {"body": drawing(2100)}
    sets["set01"]["icons"]["thing-0-fill"] = {"body": drawing(2101)}
    broken = sets["set02"]["icons"]
    broken["thing-1"] = {"body": "<path"}
    broken["thing-2"] = {"body": ""}
    broken["thing-3"] = {"body": '<image href="/etc/passwd"/>'}
    broken["thing-4"] = {"body": drawing(2200), "hidden": True}
    broken["only-here"] = {"body": drawing(2201)}
    # Equal pictures: in one set, in two sets, and of two concepts.
    for where, name in (("set03", "thing-1"), ("set04", "thing-1"), ("set05", "thing-6")):
        sets[where]["icons"][name] = {"body": drawing(2300)}
    listing |= {
        "smileys": described("Smileys", "e", category="Emoji"),
        "other-emoji": described("Other Emoji", "f"),
        "copyleft": described("Copyleft", "g", "GPL-3.0"),
        "noncommercial": described("Mine", "h", "CC-BY-NC-4.0"),
        "colored": described("Colored", "i", palette=True),
    }
    for number, name in enumerate(["smileys", "other-emoji", "copyleft", "noncommercial", "unlisted"]):
        sets[name] = style(CONCEPTS, 3000 + 100 * number)
    sets["colored"] = {"icons": {name: {"body": drawing(4000 + i, True)} for i, name in enumerate(CONCEPTS)}}
    files = {f"json/{name}.json": data for name, data in sets.items()} | {"collections.json": listing}
    return {name: json.dumps(data).encode() for name, data in files.items()} | {"package.json": b"no JSON is read here"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("npm") / "any.tgz"
    with tarfile.open(path, "w:gz") as file:
        for name, content in package().items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def folder(tmp_path):
    for name, content in package().items():
        (tmp_path / "unpacked" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "unpacked" / name).write_bytes(content)
    return tmp_path / "unpacked"


@pytest.fixture
def genuine(archive, monkeypatch):
    """Makes the tiny package the one that is expected."""
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    expected = packaged.Archive(iconify.URL, integrity, iconify.LISTING)
    monkeypatch.setattr(iconify, "INTEGRITY", integrity)
    monkeypatch.setitem(packaged.PACKAGES, "icons", packaged.Package("icons", None, archive=expected))
    return archive


def by_hash(name, count):
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % count == 0


def expected_split(style, concept):
    author = f"author{int(style[3:]) // 2}"
    concept_is_new, style_is_new = by_hash(f"concept:{concept}", 10), by_hash(f"style:{author}", 5)
    if concept_is_new:
        return "new_both" if style_is_new else "new_concepts"
    return "new_styles" if style_is_new else "test" if by_hash(f"{author}/{concept}", 5) else "train"


LEFT_OUT = {"unreadable": 1, "unsupported": 1, "blank": 1, "duplicate": 2}


def test_what_is_kept_and_what_is_left_out(archive, tmp_path):
    found, record = icons.collected(archive, GRAY32, tmp_path)
    kept = {(icon.style.name, icon.name): icon for icon in found}
    assert len(kept) == len(found) == record["kept"] == STYLES * len(CONCEPTS) + 1 - 1 - sum(LEFT_OUT.values())
    assert {name: record[name] for name in LEFT_OUT} == LEFT_OUT
    assert record["broken"] == "set02:thing-1 set02:thing-2 set02:thing-3"
    counts = {"emoji": 48, "license": 48, "colors": 24, "rare": 2, "icons": STYLES * len(CONCEPTS) + 2 + 120}
    assert {name: record[name] for name in counts} == counts
    assert {icon.concept for icon in found} == set(CONCEPTS)
    assert {icon.style.name for icon in found} == {f"set{number:02d}" for number in range(STYLES)}
    # The first of equal pictures stays.
    assert ("set03", "thing-1") in kept and not {("set04", "thing-1"), ("set05", "thing-6")} & set(kept)
    assert kept["set00", "thing-5-fill"].style.icons["thing-5-fill"] == ("thing-5", "fill")
    assert ("set00", "thing-0") in kept and ("set01", "thing-0-fill") not in kept
    number = 100 * 7 + 5
    picture = kept["set07", "thing-5"].picture  # twice as wide as high, so a quarter is white above and below
    assert picture.shape == (32, 32, 1) and (picture[:8] == 255).all() and (picture[24:] == 255).all()
    np.testing.assert_array_equal(picture[20, ::2, 0], [0 if number >> bit & 1 else 255 for bit in range(16)])


def test_no_picture_is_in_two_splits(archive, tmp_path):
    found, _ = icons.collected(archive, GRAY32, tmp_path)
    looks = [icon.picture.tobytes() for icon in found]
    assert len(set(looks)) == len(looks)
    for icon in found:
        assert icon.split == expected_split(icon.style.name, icon.concept)
    parts = {split: [icon for icon in found if icon.split == split] for split in icons.SPLITS}
    assert all(parts.values()), "the tiny package shows every split"
    concepts = {split: {icon.concept for icon in part} for split, part in parts.items()}
    authors = {split: {icon.style.author for icon in part} for split, part in parts.items()}
    pairs = {split: {(icon.style.author, icon.concept) for icon in part} for split, part in parts.items()}
    known_concepts, known_authors = (set.union(of["train"], of["test"]) for of in (concepts, authors))
    assert not pairs["train"] & pairs["test"]
    for split, new_concepts, new_authors in (
        ("new_concepts", True, False),
        ("new_styles", False, True),
        ("new_both", True, True),
    ):
        assert bool(concepts[split] & known_concepts) != new_concepts, split
        assert bool(authors[split] & known_authors) != new_authors, split


def test_shares_of_the_splits():
    names = [f"name{number}" for number in range(10_000)]

    def share(split, number):
        of = iconify.Style(f"set{number}", {"x": (names[number], "")}, names[-number], "MIT", "", False, False)
        return icons.Icon(of, "x", np.zeros(0)).split == split

    expected = {"train": 0.9 * 0.8 * 0.8, "test": 0.9 * 0.8 * 0.2, "new_concepts": 0.08, "new_styles": 0.18}
    for split, fraction in (expected | {"new_both": 0.02}).items():
        found = np.mean([share(split, number) for number in range(10_000)])
        assert found == pytest.approx(fraction, abs=4 * np.sqrt(fraction * (1 - fraction) / 10_000)), split


@pytest.mark.parametrize(
    ("name", "prefixes", "suffixes", "expected"),
    [
        ("home", {}, {}, ("home", "")),
        ("home-outline", {}, {"": "Fill"}, ("home-outline", "")),
        ("home-outline", {}, {"": "Fill", "outline": "Outline"}, ("home", "outline")),
        ("home-16-solid", {}, {"solid": "", "16-solid": ""}, ("home", "16-solid")),
        ("outline", {}, {"outline": ""}, ("outline", "")),
        ("homeoutline", {}, {"outline": ""}, ("homeoutline", "")),
        ("round-home", {"round": "Round"}, {}, ("home", "round")),
        ("round-home-fill", {"round": "Round"}, {"fill": "Fill"}, ("home", "round-fill")),
        ("round-fill", {"round": "Round"}, {"fill": "Fill"}, ("round", "fill")),
    ],
)
def test_names_are_parted_as_their_set_declares(name, prefixes, suffixes, expected):
    assert iconify.parted(name, prefixes, suffixes) == expected


def test_colors_are_sets_of_their_own(folder, tmp_path):
    config = icons.Config(name="few", side=64, color=True, least=1)
    found, record = icons.collected(folder, config, tmp_path / "cache")
    assert {icon.style.name for icon in found} == {"colored"} and record["kept"] == len(CONCEPTS)
    assert all(icon.picture.shape == (64, 64, 3) for icon in found)
    assert ([204, 0, 0] == found[0].picture).all(-1).any()
    assert icons.collected(folder, COLOR64, tmp_path / "cache")[1]["rare"] == len(CONCEPTS)  # in one set, not three


def test_other_licenses_can_be_chosen(folder, tmp_path):
    config = icons.Config(name="free", least=1, licenses=("GPL-3.0",))
    found, _ = icons.collected(folder, config, tmp_path / "cache")
    assert {icon.style.name for icon in found} == {"copyleft"}


def test_a_killed_import_goes_on_where_it_was(archive, tmp_path, monkeypatch):
    whole, record = icons.collected(archive, GRAY32, tmp_path / "whole")
    drawn, picture = [], svg.picture

    def counted(*args, **named):
        drawn.append(args)
        if len(drawn) == 100:
            raise KeyboardInterrupt
        return picture(*args, **named)

    monkeypatch.setattr(svg, "picture", counted)
    with pytest.raises(KeyboardInterrupt):
        icons.collected(archive, GRAY32, tmp_path / "cache")
    kept = sorted((tmp_path / "cache").iterdir())
    assert len(kept) == 4 and not any(path.name.startswith(".") for path in kept)  # 24 to 25 icons in each
    # One of the files was damaged since.
    kept[0].write_bytes(kept[0].read_bytes()[:200])
    resumed, again = icons.collected(archive, GRAY32, tmp_path / "cache")
    total = STYLES * len(CONCEPTS)  # one more in set00, one hidden in set02
    assert len(drawn) - 100 == total - sum(len(of) for of in list(_counts(kept[1:])))
    assert again == record
    for first, second in zip(whole, resumed, strict=True):
        assert (first.style, first.name) == (second.style, second.name)
        np.testing.assert_array_equal(first.picture, second.picture)
    drawn.clear()
    icons.collected(archive, GRAY32, tmp_path / "cache")
    assert drawn == []


def _counts(paths):
    for path in paths:
        with np.load(path) as kept:
            yield kept["reasons"]


def test_pictures_are_drawn_again_if_anything_changed(folder, tmp_path):
    icons.collected(folder, GRAY32, tmp_path / "cache")
    before = len(list((tmp_path / "cache").iterdir()))
    data = json.loads((folder / "json/set07.json").read_text())
    data["icons"]["thing-5"]["body"] = drawing(2400)
    (folder / "json/set07.json").write_text(json.dumps(data))
    found, _ = icons.collected(folder, GRAY32, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == before + 1
    picture = next(icon.picture for icon in found if (icon.style.name, icon.name) == ("set07", "thing-5"))
    np.testing.assert_array_equal(picture, svg.picture(drawing(2400), (0, 0, 16, 8), 32))


def test_imported_from_a_file(genuine, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    warned = []
    monkeypatch.setattr(icons._log, "warning", lambda *args: warned.append(args))
    builder = packaged.imported("icons", genuine, tmp_path / "tfds")
    assert builder.info.full_name == "icons/gray32/1.0.0" and "not comparable" in warned[0][0]
    expected, record = icons.collected(genuine, GRAY32, tmp_path / "drawn")
    assert dict(tfds.builder("icons", data_dir=tmp_path / "tfds").info.metadata) == record
    # The file is now the download, so that other configurations need neither it nor a network.
    for name, label in (("icons/gray32", "concept"), ("icons/gray32_style", "style")):
        assert packaged.imported(name, None, tmp_path / "tfds").is_prepared()
        for split in icons.SPLITS:
            found = sources.load(name, split, data_dir=tmp_path / "tfds", extra=("concept", "style"))
            assert found.image_shape == (32, 32, 1) and found.classes == sorted(found.classes)
            batch = next(iter(found.in_order(1000)))
            classes = {key: tfds.builder(name, data_dir=tmp_path / "tfds").info.features[key].names for key in KEYS}
            assert {
                (np.asarray(image).tobytes(), found.classes[label], classes["concept"][concept], classes["style"][of])
                for image, label, concept, of in zip(
                    *(np.asarray(batch[key]) for key in ("image", "label", *KEYS)), strict=True
                )
            } == {
                (
                    icon.picture.tobytes(),
                    icon.concept if label == "concept" else icon.style.name,
                    icon.concept,
                    icon.style.name,
                )
                for icon in expected
                if icon.split == split
            }


KEYS = ("concept", "style")


def test_every_example_states_its_terms(genuine, tmp_path):
    packaged.imported("icons", genuine, tmp_path)
    for example in tfds.load("icons", split="all", data_dir=tmp_path, download=False).as_numpy_iterator():
        number = int(tfds.builder("icons", data_dir=tmp_path).info.features["style"].int2str(example["style"])[3:])
        spdx = ("MIT", "CC-BY-4.0")[number % 2]
        assert example["license"].decode() == spdx
        assert example["attribution"].decode() == (
            f"Set {number} by author{number // 2}, https://author{number // 2}.example, The {spdx} License, "
            f"https://{spdx}.example"
        )
        assert example["variant"] == (b"fill" if example["name"].endswith(b"-fill") else b"")


def test_imported_from_a_folder(genuine, folder, tmp_path):
    builder = packaged.imported("icons", folder, tmp_path / "tfds")
    assert dict(builder.info.metadata) == icons.collected(genuine, GRAY32, tmp_path / "drawn")[1]


@pytest.fixture
def server(genuine, monkeypatch):
    """A registry that has the package at the address that is expected; the list of what it was asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

    handler = functools.partial(Handler, directory=str(genuine.parent))
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    monkeypatch.setattr(iconify, "URL", f"http://127.0.0.1:{serving.server_port}/{genuine.name}")
    yield asked
    serving.shutdown()
    serving.server_close()


def test_downloaded_once(server, tmp_path):
    packaged.imported("icons", None, tmp_path)
    builders.prepared("icons/gray64", tmp_path)
    assert server == ["/any.tgz"]


def test_a_failed_download_names_the_way_without_one(server, tmp_path, monkeypatch):
    monkeypatch.setattr(iconify, "URL", iconify.URL.replace("any", "none"))
    with pytest.raises(FileNotFoundError, match="`zoo-data import icons/color64 --from=FILE` reads its raw files"):
        builders.prepared("icons/color64", tmp_path)


def test_a_wrong_download_is_not_kept(server, tmp_path, monkeypatch):
    genuine = iconify.INTEGRITY
    monkeypatch.setattr(iconify, "INTEGRITY", "sha512-" + base64.b64encode(bytes(64)).decode())
    with pytest.raises(ValueError, match="npm: expected a file with integrity"):
        packaged.imported("icons", None, tmp_path)
    assert not tfds.builder("icons", data_dir=tmp_path).is_prepared()
    monkeypatch.setattr(iconify, "INTEGRITY", genuine)
    assert packaged.imported("icons", None, tmp_path).is_prepared()
    assert server == ["/any.tgz"] * 2


def test_refuses(archive, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="npm: expected a file with integrity sha512-nAV60A"):
        packaged.imported("icons", archive, tmp_path / "tfds")  # a file, but not the published one
    with pytest.raises(FileNotFoundError, match="expected a file, or a folder with collections.json.*not exist"):
        packaged.imported("icons", tmp_path / "none", tmp_path / "tfds")
    with pytest.raises(FileNotFoundError, match="which lacks it"):
        packaged.imported("icons", tmp_path, tmp_path / "tfds")
    with pytest.raises(ValueError, match="expected `name` to be one of.*'icons'"):
        packaged.imported("icon/gray32", tmp_path, tmp_path / "tfds")
    with pytest.raises(ValueError, match="gray33"):
        packaged.imported("icons/gray33", archive, tmp_path / "tfds")
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(ImportError, match="pip install resvg_py"):
        packaged.imported("icons", None, tmp_path / "tfds")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("json/set03.json", b"{"),
        ("json/set03.json", b"[]"),
        ("json/set03.json", b'{"icons": []}'),
        ("json/set03.json", b'{"icons": {"home": 3}}'),
        ("collections.json", b"{}}"),
        ("collections.json", b'{"set03": {"name": "Three"}}'),
        ("collections.json", b"\xff"),
    ],
)
def test_refuses_another_format(name, content, folder, tmp_path):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"icons: expected the files of @iconify/json. Received: .*{name}"):
        icons.collected(folder, GRAY32, tmp_path / "cache")


def test_refuses_a_package_without_sets(tmp_path):
    pathlib.Path(tmp_path / "collections.json").write_text("{}")
    with pytest.raises(ValueError, match="all sets are missing"):
        iconify.opened(tmp_path)
