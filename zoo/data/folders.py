"""Image files in folders: which there are, in which order, of which split and class."""

import dataclasses
import os
import pathlib

import numpy as np

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
# What first-level folders may be called for `root/train/...` to mean a split rather than a class of trains.
_SPLITS = frozenset(
    "train training test testing val valid validation eval dev holdout extra unlabeled unlabelled unsupervised".split()
)


@dataclasses.dataclass(frozen=True)
class Listing:
    """Image files below a folder.

    Args:
        root: the folder.
        paths: POSIX paths relative to it, sorted; their positions are the ids.
        members: split name -> np.int64 positions in `paths`.
        classes: names, sorted; None if no split is labelled.
        labels: np.int64 `[n]`, -1 for an image that lies in no class folder; None if there are no classes.
    """

    root: pathlib.Path
    paths: list
    members: dict
    classes: list
    labels: np.ndarray


def listing(root):
    """Lists the images below `root`: `root[/split][/class]/image`, or nested in any other way.

    Splits are the first-level folders if one is called `train` and all that hold images have names of splits; else
    everything is the split `train`. A split is labelled if each of its images lies in a folder of its own level, one
    deep, and the labelled splits have two such folders or more: these are the classes. Hidden files are passed over.

    Raises:
        ValueError: no such folder, or no image in it.
    """
    root = pathlib.Path(root).expanduser()
    if not root.is_dir():
        raise ValueError(f"load: expected a folder of images. Received: folder={str(root)!r}, which is none.")
    paths = sorted(_walk(str(root), "", frozenset()))
    if not paths:
        raise ValueError(f"load: expected a file ending in {', '.join(EXTENSIONS)}. Received: folder={str(root)!r}.")
    parts = [path.split("/") for path in paths]
    first = {part[0] if len(part) > 1 else "" for part in parts}
    depth = 1 if "train" in first and first <= _SPLITS else 0
    members = {}
    for position, part in enumerate(parts):
        members.setdefault(part[0] if depth else "train", []).append(position)
    members = {split: np.array(positions, np.int64) for split, positions in members.items()}

    labelled = [split for split, rows in members.items() if all(len(parts[row]) == depth + 2 for row in rows)]
    classes = sorted({parts[row][depth] for split in labelled for row in members[split]})
    if len(classes) < 2:
        return Listing(root, paths, members, None, None)
    number = {name: index for index, name in enumerate(classes)}
    labels = np.full(len(paths), -1, np.int64)
    for split in labelled:
        labels[members[split]] = [number[parts[row][depth]] for row in members[split]]
    return Listing(root, paths, members, classes, labels)


def _walk(folder, prefix, above):
    """Relative paths of the images below `folder`; links are followed unless they lead back up."""
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
