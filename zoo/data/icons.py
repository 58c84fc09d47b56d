"""The TFDS dataset `icons`: icons of almost 200 sets, labeled with what they show and with the set that drew them.

They come from the npm package @iconify/json (https://github.com/iconify/icon-sets). The name of an icon is its
*concept*, and its set is its *style*. Names are what the authors chose: one thing may have several, and a `wallet` can
be a coin of that name.
"""

import dataclasses
import hashlib
import io
import json
import logging
import os
import pathlib
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from rich import console, progress

from zoo import files
from zoo.data import iconify, npm, splits, svg

_log = logging.getLogger(__name__)
# SPDX names of licenses that put no other works under the same license, and allow commercial use.
PERMISSIVE = ("Apache-2.0", "BSD-3-Clause", "CC-BY-3.0", "CC-BY-4.0", "CC0-1.0", "ISC", "MIT", "Unlicense")
SPLITS = ("train", "test", "new_concepts", "new_styles", "new_both")


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """A configuration of `icons`.

    Args:
        side: height and width of the pictures.
        color: whether of the sets that are drawn in many colors, not of those that are drawn in one.
        label: `concept` or `style`, the feature that becomes the label.
        least: number of sets that must have an icon of a concept.
        licenses: SPDX names of the licenses of sets that are used.
    """

    side: int = 32
    color: bool = False
    label: str = "concept"
    least: int = 10
    licenses: tuple[str, ...] = PERMISSIVE


@dataclasses.dataclass(frozen=True)
class Icon:
    """One icon of a set, and its picture, uint8 `[side, side, C]`."""

    style: iconify.Style
    name: str
    picture: np.ndarray

    @property
    def concept(self) -> str:
        """The concept that it shows."""
        return self.style.icons[self.name][0]

    @property
    def split(self) -> str:
        """The split that it belongs to; see `Icons`."""
        new_concept = splits.picked(f"concept:{self.concept}", 10)
        new_style = splits.picked(f"style:{self.style.author}", 5)
        if new_concept or new_style:
            return "new_both" if new_concept and new_style else "new_concepts" if new_concept else "new_styles"
        # Variants, and later editions by the same author, look much the same, and stay together.
        return "test" if splits.picked(f"{self.style.author}/{self.concept}", 5) else "train"


def chosen(styles: Iterable[iconify.Style], config: Config) -> tuple[list[iconify.Style], dict[str, int]]:
    """Returns the sets of a configuration with the icons of its concepts, and the number of icons it left out, by why.

    The reasons are `emoji`, `license`, `colors` (drawn in one or many, unlike the configuration) and `rare` (a concept
    of too few sets).
    """
    counts = dict.fromkeys(("icons", "emoji", "license", "colors", "rare"), 0)
    kept: list[iconify.Style] = []
    for style in styles:
        counts["icons"] += len(style.icons)
        if style.is_emoji:
            counts["emoji"] += len(style.icons)
        elif style.license not in config.licenses:
            counts["license"] += len(style.icons)
        elif style.has_colors != config.color:
            counts["colors"] += len(style.icons)
        else:
            kept.append(style)
    drawn_in: dict[str, set[str]] = {}
    for style in kept:
        for concept, _ in style.icons.values():
            drawn_in.setdefault(concept, set()).add(style.name)
    result = []
    for style in kept:
        icons = {name: parts for name, parts in style.icons.items() if len(drawn_in[parts[0]]) >= config.least}
        counts["rare"] += len(style.icons) - len(icons)
        if icons:
            result.append(dataclasses.replace(style, icons=icons))
    return result, counts


def rasterized(
    path: pathlib.Path, styles: Iterable[iconify.Style], config: Config, cache: pathlib.Path
) -> Iterator[tuple[iconify.Style, Any]]:
    """Draws the icons of sets, and keeps the pictures of each set in a file, which a later call reads instead.

    Args:
        path: the package.
        styles: those of `chosen`.
        config: side and colors of the pictures.
        cache: folder of the files.

    Yields:
        A set, and its pictures `[n, side, side, C]` and the reasons why some are none, as strings `[n]`; the reason is
        "" for a picture, and otherwise `unreadable`, `unsupported` (see `svg.picture`) or `blank` (a single color).
    """
    cache.mkdir(parents=True, exist_ok=True)
    wanted = {f"json/{style.name}.json": style for style in styles}
    total = sum(len(style.icons) for style in wanted.values())
    with progress.Progress(console=console.Console(stderr=True)) as bar:
        task = bar.add_task("Drawing icons", total=total)
        for file, content in npm.contents(path, wanted.__contains__):
            style = wanted[file]
            key = repr((hashlib.sha256(content).hexdigest(), list(style.icons), config.side, config.color))
            key += f"{Icons.VERSION} {svg.renderer().__version__}"
            place = cache / f"{style.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
            pictures = _kept(place)
            if pictures is None:
                pictures = _pictures(json.loads(content), style.icons, config)
                kept = io.BytesIO()
                np.savez_compressed(kept, pictures=pictures[0], reasons=pictures[1])
                files.write(place, kept.getvalue())
            bar.advance(task, len(style.icons))
            yield style, pictures


def _kept(place):
    """The pictures and reasons in a file; None if there is no such file, or it is broken."""
    try:
        with np.load(place, allow_pickle=False) as kept:
            return kept["pictures"], kept["reasons"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _log.warning("The pictures in %s cannot be read (%s); drawing them again.", place, error)
        return None


def _pictures(data: dict[str, Any], names: Iterable[str], config: Config) -> tuple[np.ndarray, np.ndarray]:
    pictures, reasons = [], []
    for name in names:
        # What an icon does not state, its set does.
        icon = {"left": 0, "top": 0, "width": 16, "height": 16} | data | data["icons"][name]
        box = [icon[key] for key in ("left", "top", "width", "height")]
        picture, reason = np.zeros((config.side, config.side, 3 if config.color else 1), np.uint8), ""
        try:
            picture = svg.picture(icon.get("body"), box, config.side, config.color)
            reason = "blank" if (picture == picture[0, 0]).all() else ""
        except svg.Refused as error:
            reason = error.reason
        pictures.append(picture)
        reasons.append(reason)
    return np.stack(pictures), np.array(reasons)


def collected(path: str | os.PathLike, config: Config, cache: pathlib.Path) -> tuple[list[Icon], dict[str, Any]]:
    """Reads a package, and keeps the first of all icons that look the same, by style and name.

    A picture therefore occurs once in all splits together.

    Args:
        path: tarball or folder.
        config: which icons, and how to draw them.
        cache: folder of pictures, see `rasterized`.

    Returns:
        The icons, and a record: how many were left out, by reason; `broken`, the names of those that could not be
        drawn; `manifest`, the SHA-256 of the package.
    """
    path = pathlib.Path(path)
    styles, manifest = iconify.opened(path)
    styles, record = chosen(styles, config)
    record |= {"unreadable": 0, "unsupported": 0, "blank": 0, "duplicate": 0}
    by_style = {style.name: pictures for style, pictures in rasterized(path, styles, config, cache)}
    icons, broken, seen = [], [], set()
    for style in styles:
        for name, picture, reason in zip(style.icons, *by_style[style.name], strict=True):
            look = hashlib.sha256(picture.tobytes()).digest()
            why = str(reason) or ("duplicate" if look in seen else "")
            if why:
                record[why] += 1
                broken += [f"{style.name}:{name}"] if reason else []
            else:
                seen.add(look)
                icons.append(Icon(style, name, picture))
    return icons, record | {"kept": len(icons), "manifest": manifest, "broken": " ".join(broken)}


def _configs():
    for label in ("concept", "style"):
        for color in (False, True):
            for side in (32, 64):
                kind = "many colors" if color else "one color"
                yield Config(
                    name=f"{'color' if color else 'gray'}{side}{'' if label == 'concept' else '_style'}",
                    description=f"Icons in {kind}, {side} x {side}, labeled with the {label}.",
                    side=side,
                    color=color,
                    label=label,
                    least=3 if color else 10,
                )


class Icons(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of `icons`, with splits that ask for new examples, new concepts, new styles, or both.

    The concept of an icon is its name without the prefix and suffix of a variant that its set declares. Hashes of names
    hold back a tenth of the concepts, and a fifth of the authors with all of their sets: `new_concepts` shows them in
    styles of `train`, `new_styles` shows concepts of `train` in theirs, and `new_both` has the rest. Everything else is
    in `test` or `train`: a fifth of the pairs of an author and a concept is in `test`, with all pictures of the pair.

    No picture occurs twice; of several that are equal in every pixel, the first by set and name is kept. Some authors
    redraw the work of others, so pictures of different splits can still look alike.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = list(_configs())
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"The icons are in {iconify.URL}, which is downloaded unless its contents are here."

    def _info(self):
        channels = 3 if self.builder_config.color else 1
        features = {
            "image": tfds.features.Image(
                shape=(self.builder_config.side, self.builder_config.side, channels), encoding_format="png"
            ),
            "concept": tfds.features.ClassLabel(),  # its names are known when the package was read
            "style": tfds.features.ClassLabel(),
            "name": tfds.features.Text(),
            "variant": tfds.features.Text(),
            "license": tfds.features.Text(),
            "attribution": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", self.builder_config.label),
            homepage="https://iconify.design",
            license="Of each set; every example states it, and whom to name.",
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        svg.renderer()  # before the download, which takes longer
        cache = pathlib.Path(dl_manager.download_dir) / "icons" / "drawn"
        icons, record = collected(_package(dl_manager), self.builder_config, cache)
        if record["manifest"] != iconify.MANIFEST:
            _log.warning(
                "icons: expected the files of %s (manifest %s). Received: manifest %s; results on them are not "
                "comparable with published ones.",
                iconify.URL,
                iconify.MANIFEST,
                record["manifest"],
            )
        self.info.metadata.update(record)
        self.info.features["concept"].names = sorted({icon.concept for icon in icons})
        self.info.features["style"].names = sorted({icon.style.name for icon in icons})
        return {split: self._generate_examples([icon for icon in icons if icon.split == split]) for split in SPLITS}

    def _generate_examples(self, icons):
        for icon in icons:
            yield (
                f"{icon.style.name}:{icon.name}",
                {
                    "image": icon.picture,
                    "concept": icon.concept,
                    "style": icon.style.name,
                    "name": icon.name,
                    "variant": icon.style.icons[icon.name][1],
                    "license": icon.style.license,
                    "attribution": icon.style.attribution,
                },
            )


def _package(manager):
    """The folder of the package if there is one, else the verified tarball, after its download if needed."""
    try:
        if (pathlib.Path(manager.manual_dir) / iconify.LISTING).is_file():
            return manager.manual_dir
    except AssertionError:  # TFDS has no such folder
        pass
    archive = manager.download(iconify.URL)
    try:
        npm.verify(archive, iconify.INTEGRITY)
    except ValueError:
        pathlib.Path(archive).unlink()  # so that the next import downloads it again
        raise
    return archive
