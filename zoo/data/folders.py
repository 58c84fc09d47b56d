"""Image files in folders: their order, splits and classes."""

import dataclasses
import os
import pathlib

import numpy as np

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
# `root/train/...` means a split, not a class of trains, if all first-level folders have names among these.
_SPLITS = frozenset(
    "train training test testing val valid validation eval dev holdout extra unlabeled unlabelled unsupervised".split()
)


@dataclasses.dataclass(frozen=True)
class Listing:
    """The image files below a folder.

    Args:
        root: the folder.
        paths: POSIX paths relative to `root`, sorted; their positions are the ids.
        members: split name -> np.int64 positions in `paths`.
        classes: names of the classes, sorted; None if no split is labeled.
        labels: np.int64 `[n]`, -1 for an image outside the class folders; None if there are no classes.
    """

    root: pathlib.Path
    paths: list[str]
    members: dict[str, np.ndarray]
    classes: list[str] | None
    labels: np.ndarray | None


def listing(root: str | os.PathLike) -> Listing:
    """Lists the images below `root`: `root[/split][/class]/image`, or nested in any other way.

    The first-level folders are splits if one of them is called `train` and all that hold images have usual names of
    splits, such as `test`; otherwise all images form the split `train`. A split is labeled if all its images lie
    exactly one folder below it, and the labeled splits together have two such folders or more; these folders are the
    classes. Hidden files are ignored.

    Args:
        root: the folder.

    Raises:
        ValueError: there is no such folder, or it holds no image.
    """
    root = pathlib.Path(root).expanduser()
    if not root.is_dir():
        raise ValueError(f"load: expected an existing folder of images. Received: folder={str(root)!r}.")
    paths = sorted(_walk(str(root), "", frozenset()))
    if not paths:
        raise ValueError(f"load: expected a file ending in {', '.join(EXTENSIONS)}. Received: folder={str(root)!r}.")
    parts = [path.split("/") for path in paths]
    first = {part[0] if len(part) > 1 else "" for part in parts}
    depth = 1 if "train" in first and first <= _SPLITS else 0
    positions_of: dict[str, list[int]] = {}
    for position, part in enumerate(parts):
        positions_of.setdefault(part[0] if depth else "train", []).append(position)
    members = {split: np.array(positions, np.int64) for split, positions in positions_of.items()}

    labeled = [split for split, rows in members.items() if all(len(parts[row]) == depth + 2 for row in rows)]
    classes = sorted({parts[row][depth] for split in labeled for row in members[split]})
    if len(classes) < 2:
        return Listing(root, paths, members, None, None)
    number = {name: index for index, name in enumerate(classes)}
    labels = np.full(len(paths), -1, np.int64)
    for split in labeled:
        labels[members[split]] = [number[parts[row][depth]] for row in members[split]]
    return Listing(root, paths, members, classes, labels)


def _walk(folder, prefix, above):
    """Yields the relative paths of the images below `folder`; follows links unless they lead back up."""
    identity = os.path.realpath(folder)
    if identity in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "__MACOSX")):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {identity})
            elif entry.name.lower().endswith(EXTENSIONS):
                yield prefix + entry.name
