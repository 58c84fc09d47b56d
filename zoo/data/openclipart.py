"""The TFDS dataset `openclipart`: the Open Clip Art Library's pictures as Debian's package openclipart-png holds them.

Its files are read from disk (`zoo-data import openclipart`), as the library no longer offers them in one piece.
"""

import dataclasses
import hashlib
import io
import os
import pathlib
import warnings

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image
from rich import console, progress

FOLDER = "/usr/share/openclipart/png"
SIDE = 64
# Of which version the counts in a report are known: files, and the digest of `Collection.manifest`.
DEBIAN = ("1:0.18+dfsg-19", 8121, "a71bb08eb35a89074d5866a2430d9a932e23e5cdc7a8936f1fda6bbeac5abcc1")
# Beyond these, a picture takes gigabytes to decode, or is too small to show anything.
MOST_PIXELS, LEAST_SIDE = 40_000_000, 8
CATEGORIES = (
    "animals buildings buttons computer containers decorations education electronics food geography logos office "
    "people plants recreation science shapes signs_and_symbols special tools transportation unsorted"
).split()


@dataclasses.dataclass
class Collection:
    """What a folder of pictures came to.

    Args:
        pictures: relative POSIX path -> uint8 `[SIDE, SIDE, 3]`, no two alike.
        counts: how many files there were, and how many were left out, by reason.
        manifest: SHA-256 of all paths and contents.
    """

    pictures: dict
    counts: dict
    manifest: str


def collected(folder):
    """Reads all PNG files below a folder; of pictures that look the same, it keeps the first.

    Files come before links to files, and each by path: of a picture that the package shows in several categories, the
    one that holds the file counts.

    Args:
        folder: whose folders are the categories.

    Raises:
        ValueError: there is no PNG file, or a category that is not among `CATEGORIES`.
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
    pictures, seen, manifest = {}, set(), hashlib.sha256()
    counts = {"files": len(names), "unreadable": 0, "extreme": 0, "blank": 0, "duplicate": 0}
    shown = progress.track(
        zip(names, paths, strict=True), "Reading pictures", len(names), console=console.Console(stderr=True)
    )
    for name, path in shown:
        data = path.read_bytes()
        digest = hashlib.sha256(data).digest()
        manifest.update(name.encode() + b"\0" + digest)
        # Most duplicates are so to the byte, and need not be decoded to be told.
        picture, reason = (None, "duplicate") if digest in seen else fitted(data)
        seen.add(digest)
        if picture is not None:
            look = hashlib.sha256(picture.tobytes()).digest()
            reason = "duplicate" if look in seen else None
            seen.add(look)
        if reason:
            counts[reason] += 1
        else:
            pictures[name] = picture
    return Collection(pictures, counts, manifest.hexdigest())


def fitted(data):
    """A picture on white, padded with white to a square, and resized.

    Args:
        data: bytes of an image file.

    Returns:
        uint8 `[SIDE, SIDE, 3]` and None, or None and why there is none: `unreadable`, `extreme` (over `MOST_PIXELS`, or
        a side below `LEAST_SIDE`) or `blank` (of one colour).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        width, height = image.size
        if width * height > MOST_PIXELS or min(width, height) < LEAST_SIDE:
            return None, "extreme"
        image = image.convert("RGBA")
    except Image.DecompressionBombError:
        return None, "extreme"
    except (OSError, ValueError, SyntaxError):  # Pillow calls a broken PNG chunk a syntax error.
        return None, "unreadable"
    side = max(width, height)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(image, ((side - width) // 2, (side - height) // 2))
    # Antialiased; what is many times too large is first averaged over whole blocks.
    square = square.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    pixels = np.array(square)
    return (None, "blank") if (pixels == pixels[0, 0]).all() else (pixels, None)


def is_test(name):
    """Whether a relative path falls to the test split: about every fifth does, by its SHA-256."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") % 5 == 0


class Openclipart(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of `openclipart`; the folder of the pictures is its `manual_dir`."""

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
            logging.warning(
                "openclipart: expected the %d files of openclipart-png %s (manifest %s). Received: %d files of "
                "manifest %s; results on them compare with no others.",
                files,
                version,
                manifest,
                found.counts["files"],
                found.manifest,
            )
        self.info.metadata.update(found.counts, kept=len(found.pictures), manifest=found.manifest)
        return {
            split: self._generate_examples({n: p for n, p in found.pictures.items() if is_test(n) == test})
            for split, test in (("train", False), ("test", True))
        }

    def _generate_examples(self, pictures):
        for name, picture in pictures.items():
            yield name, {"image": picture, "label": name.partition("/")[0], "path": name}
