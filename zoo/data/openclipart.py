"""The TFDS dataset `openclipart`: pictures of the Open Clip Art Library, as in Debian's package openclipart-png.

`zoo-data import openclipart` reads the files from disk, because the library no longer offers them in one download.
"""

import dataclasses
import hashlib
import io
import logging
import os
import pathlib
import warnings

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from rich import console, progress

from zoo.data import splits

_log = logging.getLogger(__name__)
FOLDER = "/usr/share/openclipart/png"
SIDE = 64
# The version that published results use, its number of files, and its `Collection.manifest`.
DEBIAN = ("1:0.18+dfsg-19", 8121, "a71bb08eb35a89074d5866a2430d9a932e23e5cdc7a8936f1fda6bbeac5abcc1")
# Larger pictures take gigabytes to decode; smaller ones show nothing.
MOST_PIXELS, LEAST_SIDE = 40_000_000, 8
CATEGORIES = (
    "animals buildings buttons computer containers decorations education electronics food geography logos office "
    "people plants recreation science shapes signs_and_symbols special tools transportation unsorted"
).split()


@dataclasses.dataclass
class Collection:
    """The pictures of a folder.

    Args:
        pictures: relative POSIX path -> uint8 `[SIDE, SIDE, 3]`, without duplicates.
        counts: number of files, and number of files that were left out, by reason.
        manifest: SHA-256 of all paths and contents.
    """

    pictures: dict[str, np.ndarray]
    counts: dict[str, int]
    manifest: str


def collected(folder: str | os.PathLike) -> Collection:
    """Reads all PNG files below a folder, and keeps the first of all pictures that look the same.

    Files are sorted by path, and links to files come last. A picture that the package links into several categories is
    therefore kept in the category that holds the file.

    Args:
        folder: a folder with one folder per category.

    Raises:
        ValueError: there is no PNG file, or a category is not among `CATEGORIES`.
    """
    folder = pathlib.Path(folder).expanduser()
    paths = sorted(folder.rglob("*.png"), key=lambda path: (path.is_symlink(), path.as_posix()))
    names = [path.relative_to(folder).as_posix() for path in paths]
    unknown = sorted({name.partition("/")[0] for name in names} - set(CATEGORIES))
    if not names or unknown:
        raise ValueError(
            f"openclipart: expected PNG files in folders among {', '.join(CATEGORIES)}. "
            f"Received: folder={str(folder)!r} with {', '.join(unknown[:3]) or 'none'}."
        )
    pictures: dict[str, np.ndarray] = {}
    seen, manifest = set(), hashlib.sha256()
    counts = {"files": len(names), "unreadable": 0, "extreme": 0, "blank": 0, "duplicate": 0}
    tracked = progress.track(
        zip(names, paths, strict=True), "Reading pictures", len(names), console=console.Console(stderr=True)
    )
    for name, path in tracked:
        data = path.read_bytes()
        digest = hashlib.sha256(data).digest()
        manifest.update(name.encode() + b"\0" + digest)
        # Most duplicates are byte for byte the same, and are recognized without decoding them.
        picture, reason = (None, "duplicate") if digest in seen else fitted(data)
        seen.add(digest)
        if picture is not None:
            look = hashlib.sha256(picture.tobytes()).digest()
            reason = "duplicate" if look in seen else None
            seen.add(look)
        if picture is None or reason:
            counts[str(reason)] += 1
        else:
            pictures[name] = picture
    return Collection(pictures, counts, manifest.hexdigest())


def fitted(data: bytes) -> tuple[np.ndarray | None, str | None]:
    """Lays a picture over white, pads it with white to a square, and resizes it.

    Args:
        data: bytes of an image file.

    Returns:
        uint8 `[SIDE, SIDE, 3]` and None; or None and the reason why the picture is left out: `unreadable`, `extreme`
        (more than `MOST_PIXELS`, or a side below `LEAST_SIDE`) or `blank` (a single color).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = Image.open(io.BytesIO(data))
        width, height = file.size
        if width * height > MOST_PIXELS or min(width, height) < LEAST_SIDE:
            return None, "extreme"
        image = file.convert("RGBA")
    except Image.DecompressionBombError:
        return None, "extreme"
    except (OSError, ValueError, SyntaxError):  # Pillow raises a SyntaxError for a broken PNG chunk.
        return None, "unreadable"
    side = max(width, height)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(image, ((side - width) // 2, (side - height) // 2))
    # Antialiased; a picture that is many times too large is first averaged over whole blocks.
    square = square.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    pixels = np.array(square)
    return (None, "blank") if (pixels == pixels[0, 0]).all() else (pixels, None)


def is_test(name: str) -> bool:
    """Returns whether a relative path belongs to the test split; its SHA-256 puts about every fifth path there."""
    return splits.picked(name, 5)


class Openclipart(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of `openclipart`; its `manual_dir` is the folder of the pictures."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Debian's package openclipart-png puts the pictures into {FOLDER}."

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=CATEGORIES),
            "path": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="https://packages.debian.org/openclipart-png",
            license="Public domain: each contributor made the Creative Commons Public Domain Dedication.",
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        found = collected(os.fspath(dl_manager.manual_dir))
        version, files, manifest = DEBIAN
        if found.manifest != manifest:
            _log.warning(
                "openclipart: expected the %d files of openclipart-png %s (manifest %s). Received: %d files with "
                "manifest %s; results on them are not comparable with published ones.",
                files,
                version,
                manifest,
                found.counts["files"],
                found.manifest,
            )
        self.info.metadata.update(found.counts, kept=len(found.pictures), manifest=found.manifest)
        return {
            split: self._generate_examples(
                {name: picture for name, picture in found.pictures.items() if is_test(name) == test}
            )
            for split, test in (("train", False), ("test", True))
        }

    def _generate_examples(self, pictures):
        for name, picture in pictures.items():
            yield name, {"image": picture, "label": name.partition("/")[0], "path": name}
