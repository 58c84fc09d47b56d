"""Image files in folders: their order, splits and classes, and what decided them."""

import dataclasses
import os
import pathlib
import unicodedata
from collections.abc import Collection

import numpy as np

from zoo import seeds
from zoo.data import splits

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
# `root/train/...` means a split, not a class of trains, if all first-level folders have names among these.
_SPLITS = frozenset(
    "train training test testing val valid validation eval dev holdout extra unlabeled unlabelled unsupervised".split()
)
# Splits that nobody expects to have labels.
_UNLABELED = frozenset("extra unlabeled unlabelled unsupervised".split())
# Determines, together with the number of images, the order in which a split is read. Another number is another order:
# slices would hold other images.
_ORDER = 20111


@dataclasses.dataclass(frozen=True)
class Listing:
    """The image files below a folder.

    Args:
        root: the folder.
        paths: POSIX paths relative to `root` in the order in which they are read; their positions are the ids. Splits
            follow one another as in `zoo.data.splits.ordered`, each in a pseudo-random order.
        counts: split name -> number of images.
        classes: names of the classes, sorted; None if no split is labeled.
        labels: np.int64 `[n]`, -1 for an image outside the class folders; None if there are no classes.
        layout: what the folders were taken for, in words.
        notes: sentences about what may be other than intended.
        passed_over: what was passed over, such as "files ending in .txt" -> number, and the first path.
        unusable: relative path of what has the name of an image and cannot be read as a file -> what was expected.
    """

    root: pathlib.Path
    paths: list[str]
    counts: dict[str, int]
    classes: list[str] | None
    labels: np.ndarray | None
    layout: str
    notes: tuple[str, ...]
    passed_over: dict[str, tuple[int, str]]
    unusable: dict[str, str]


def listing(root: str | os.PathLike, without: Collection[str] = ()) -> Listing:
    """Lists the images below `root`: `root[/split][/class]/image`, or nested in any other way.

    The first-level folders are splits if all that hold images have usual names of splits, such as `train` and `test`,
    in any case of letters; otherwise all images form the split `train`. A split is labeled if all its images lie
    exactly one folder below it, and the labeled splits together have two such folders or more; these folders are the
    classes. Hidden files are ignored.

    The images of a split are put into a pseudo-random order, so that a slice is a sample of all classes. The order
    depends on their relative paths alone, and is the same on every machine.

    Args:
        root: the folder.
        without: relative paths to leave out, as if they were not there.

    Raises:
        ValueError: there is no such folder, or it holds no image.
    """
    root = pathlib.Path(root).expanduser()
    if not root.is_dir():
        raise ValueError(f"load: expected an existing folder of images. Received: folder={str(root)!r}.")
    tree = _Tree(str(root))
    paths = sorted(set(tree.images).difference(without), key=_canonical)
    unusable = {path: tree.unusable[path] for path in sorted(set(tree.unusable).difference(without))}
    if not paths:
        raise _no_image(root, tree, unusable, without)
    tops = {path.partition("/")[0] if "/" in path else "" for path in paths}  # first-level folders, "" for none
    depth = int(all(top.lower() in _SPLITS for top in tops))  # number of folders above those of the classes
    members: dict[str, list[str]] = {}
    for path in paths:
        members.setdefault(path.partition("/")[0].lower() if depth else "train", []).append(path)

    labeled = {
        split: [path.split("/")[depth] for path in group]
        for split, group in members.items()
        if all(path.count("/") == depth + 1 for path in group)
    }
    classes = sorted(set().union(*labeled.values()), key=_canonical)
    if len(classes) < 2:
        labeled = {}
    found, labels = _read_order(members, labeled, classes)
    return Listing(
        root=root,
        paths=found,
        counts={split: len(members[split]) for split in splits.ordered(members)},
        classes=classes if labeled else None,
        labels=labels if labeled else None,
        layout=_layout(tops, members, labeled, depth),
        notes=(*_notes_on_splits(paths, tops, members, labeled), *_notes_on_labels(members, labeled, depth)),
        passed_over=tree.passed_over,
        unusable=unusable,
    )


class _Tree:
    """The files below a folder, sorted by what can be done with them.

    Attributes:
        images: relative paths of regular files with names of images, in no order.
        unusable: see `Listing`.
        passed_over: see `Listing`.
    """

    def __init__(self, root: str):
        self.images: list[str] = []
        self.unusable: dict[str, str] = {}
        self.passed_over: dict[str, tuple[int, str]] = {}
        self._walk(root, "", frozenset())

    def _walk(self, folder, prefix, above):
        """Adds what lies below `folder`; follows links unless they lead back up."""
        identity = os.path.realpath(folder)
        if identity in above:
            self._pass_over("links that lead back up", prefix)
            return
        before = len(self.images) + len(self.unusable)
        with os.scandir(folder) as entries:
            for entry in entries:
                path = prefix + entry.name
                if entry.name.startswith((".", "__MACOSX")):
                    self._pass_over("hidden files and folders", path)
                elif _holds(entry.is_dir):
                    self._walk(entry.path, f"{path}/", above | {identity})
                elif not entry.name.lower().endswith(EXTENSIONS):
                    suffix = splits.printable(os.path.splitext(entry.name)[1].lower())
                    self._pass_over(f"files ending in {suffix}" if suffix else "files without a suffix", path)
                elif not _holds(entry.is_file):
                    self.unusable[path] = "expected a regular file"
                elif not _is_text(path):
                    self.unusable[path] = "expected a name in UTF-8"
                else:
                    self.images.append(path)
        if prefix and len(self.images) + len(self.unusable) == before:
            self._pass_over("folders without images", prefix)

    def _pass_over(self, kind, path):
        count, first = self.passed_over.get(kind, (0, path))
        self.passed_over[kind] = count + 1, min(first, path)


def _holds(question):
    """Returns the answer to a question about an entry; it is no for a link that leads to itself."""
    try:
        return question()
    except OSError:
        return False


def _is_text(path):
    """Returns whether a path is Unicode; Python keeps other bytes as surrogates, which TensorFlow cannot read."""
    return path.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in path)


def _canonical(path):
    """The key that sorts paths: equal where a file system decomposes letters with accents, and where it does not."""
    return unicodedata.normalize("NFC", path), path


def _read_order(members, labeled, classes):
    """The paths in the order in which they are read, and the numbers of their classes, np.int64 `[n]`."""
    number = {name: index for index, name in enumerate(classes)}
    paths, labels = [], []
    for split in splits.ordered(members):
        order = seeds.shuffled(len(members[split]), _ORDER)
        numbers = [number[name] for name in labeled[split]] if split in labeled else [-1] * len(order)
        paths += [members[split][index] for index in order]
        labels.append(np.array(numbers, np.int64)[order])
    return paths, np.concatenate(labels)


def _no_image(root, tree, unusable, without):
    """The error of a folder that holds no image, with what it holds instead."""
    holds = [f"{kind}: {count:,}" for kind, (count, _) in sorted(tree.passed_over.items())]
    broken = [*unusable, *without]
    holds += [f"broken: {splits.listed(broken)}"] if broken else []
    return ValueError(
        f"load: expected a file ending in {', '.join(EXTENSIONS)}. "
        f"Received: folder={str(root)!r}{' with ' if holds else ''}{', '.join(holds)}."
    )


def _layout(tops, members, labeled, depth):
    """Returns what the folders were taken for, in words."""
    beginning = "all images form the split train"
    if depth:
        folders = [f"{top}/" for top in sorted(tops)]
        beginning = f"the top folders {splits.listed(folders, 12)} are splits, as all have names of splits"
    if labeled:
        names = sorted(set().union(*labeled.values()))
        where = f" in {splits.listed(splits.ordered(labeled), 12)}" if depth else ""
        return f"{beginning}; the folders{where} are classes: {splits.listed(names)}"
    folders = {path.split("/")[depth] for group in members.values() for path in group if path.count("/") > depth}
    loose = any(path.count("/") == depth for group in members.values() for path in group)
    if not folders:
        return f"{beginning}; there are no classes, as no image lies in a folder{' of its split' if depth else ''}"
    if len(folders) == 1 and not loose:
        return f"{beginning}; there are no classes, as all images lie in one folder, {splits.listed(folders)}/"
    return f"{beginning}; there are no classes, as not all images lie exactly one folder below"


def _notes_on_splits(paths, tops, members, labeled):
    """Sentences about folders that have names of splits and are none, and about splits that are missing or merged."""
    named = sorted(top for top in tops if top.lower() in _SPLITS)
    if len(named) < len(tops):
        # A folder `train` beside one called `bus` is a class; one beside `test`, or full of folders, was to be a split.
        if len(named) > 1 or (named and not labeled):
            folders = splits.listed(f"{top}/" for top in named)
            beside = next(path for path in paths if path.partition("/")[0] not in named or "/" not in path)
            beside = splits.printable(beside)
            yield (
                f"{folders} would be splits if no other images lay beside them, such as {beside}; as it is, "
                "all images are in the split train"
            )
        return
    if "train" not in members:
        yield f"there is no split train, only {splits.listed(sorted(members))}"
    for split in members:
        merged = [f"{top}/" for top in named if top.lower() == split]
        if len(merged) > 1:
            yield f"{splits.listed(merged)} together are the split {split}"


def _notes_on_labels(members, labeled, depth):
    """Sentences about splits that have folders and no labels, and about classes that cannot be learned."""
    for split, group in sorted(members.items()):
        other = [path for path in group if path.count("/") != depth + 1]
        if split not in _UNLABELED and other and any(path.count("/") > depth for path in group):
            few, first = f"{len(other):,} of {len(group):,} images", splits.printable(other[0])
            yield f"{split} has no labels, as {few} do not lie exactly one folder below, such as {first}"
        elif split in labeled and "train" in labeled:
            unknown = set(labeled[split]).difference(labeled["train"])
            count = sum(name in unknown for name in labeled[split])
            if unknown:
                few = f"{count:,} of {len(group):,} images"
                yield f"{split} has classes that train has no image of: {splits.listed(sorted(unknown))} ({few})"
