"""Datasets as plain arrays, for training where neither TensorFlow nor TFDS is installed.

An export holds every split of one dataset, as `zoo-data export` decodes and fits it:

    meta            JSON: format, name, size, channels, image, white, keys, classes, sizes of splits, skipped files
    image.SPLIT     uint8 [n, H, W, C]; only where the examples have an image
    NAME.SPLIT      any further key of the examples, [n, ...]
    label.SPLIT     int64 [n], -1 where unknown; only where there are labels

as the members of one compressed `.npz` archive, which is read into memory, or as the `.npy` files (and `meta.json`) of
a folder, which are memory-mapped and may therefore exceed the memory. An export holds arrays only: reading it executes
nothing. Exports of format 1, which hold images and labels alone, can still be read.
"""

import contextlib
import json
import os
import pathlib
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from zoo import checks, files
from zoo.data import stores

FORMAT = 2
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
# Number of examples, `Source.spec`, and the examples in batches of NumPy arrays.
Part = tuple[int, stores.Spec, Iterable[Mapping[str, np.ndarray]]]


class Export:
    """One export, opened.

    Args:
        path: path of the archive or of the folder.

    Attributes:
        meta: the contents of `meta`, a dictionary in format 2.
        counts: split name -> number of examples.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the export is damaged, or of an unknown format.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path).expanduser()
        if not self.path.exists():
            raise FileNotFoundError(f"load: expected an export of `zoo-data export`. Received: {self.path}, no file.")
        try:
            self._archive = None if self.path.is_dir() else np.load(self.path, allow_pickle=False)
            text = (self.path / "meta.json").read_bytes() if self._archive is None else self._archive["meta"].tobytes()
            self.meta = json.loads(text)
            self.counts: dict[str, int] = dict(self.meta["splits"])
            number = self.meta.get("format")
            if number == 1:
                self._modernize()
        except _DAMAGED as error:
            raise self._damaged(error) from error
        checks.require(number in (1, FORMAT), "load", f"an export of format 1 or {FORMAT}", format=number)

    def _modernize(self):
        """Turns the `meta` of format 1 into that of format 2."""
        joined = self.meta.pop("modalities")
        if joined:
            raise ValueError(f"its images are {', '.join(joined)} joined along their channels")
        self.meta |= {"format": FORMAT, "image": None, "keys": ["image"]}

    def _damaged(self, error):
        return ValueError(f"load: expected a whole export. Received: {self.path} ({error}); export the data again.")

    def _member(self, name):
        try:
            if self._archive is None:
                return np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            return self._archive[name]
        except _DAMAGED as error:
            raise self._damaged(error) from error

    def arrays(self, names: Sequence[str], keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns key -> the values in some splits, one split after the other; a single split is not copied."""
        found = {}
        for key in keys:
            parts = [self._member(f"{key}.{name}") for name in names]
            found[key] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return found

    def labels(self, names: Sequence[str]) -> np.ndarray | None:
        """Returns the labels of some splits, np.int64 `[n]`, or None."""
        if self.meta["classes"] is None:
            return None
        return np.concatenate([np.asarray(self._member(f"label.{name}"), np.int64) for name in names])


def write(
    path: str | os.PathLike,
    name: str,
    parts: Mapping[str, Part],
    classes: Sequence[str] | None,
    size: int | None = None,
    channels: int | None = None,
    image: str | None = None,
    skipped: Sequence[str] = (),
    white: float | None = None,
) -> None:
    """Writes an export, whole or not at all.

    Args:
        path: path of an archive if it ends in `.npz`, else of a folder; must not exist.
        name: name of the dataset.
        parts: split name -> (number of examples, spec, iterator of batches). The spec is that of a
            `zoo.data.sources.Source`, the same for every split.
        classes: names of the classes, or None.
        size: as given to `zoo.data.sources.load`.
        channels: as given to `load`.
        image: as given to `load`.
        skipped: names of files that were left out because they cannot be read.
        white: as given to `load`.

    Raises:
        FileExistsError: there is a file or folder at `path`.
        ValueError: a split has another number of examples than stated.
    """
    path = pathlib.Path(path).expanduser()
    if path.exists():
        raise FileExistsError(f"export: expected a new file or folder. Received: {path}, which exists.")
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = list(dict.fromkeys(key for _, spec, _ in parts.values() for key in spec if key not in ("label", "id")))
    for key in keys:
        checks.require(re.fullmatch(r"[\w-]+", key), "export", "keys of letters, digits, _ and -", key=key)
    meta = {"format": FORMAT, "name": name, "size": size, "channels": channels, "image": image, "keys": keys}
    meta |= {"classes": classes, "splits": {split: part[0] for split, part in parts.items()}}
    meta |= {"skipped": list(skipped), "white": white}
    text = json.dumps(meta, indent=1)
    if path.suffix != ".npz":
        with files.folder(path) as folder:
            _write_members(folder, name, parts, classes is not None)
            (folder / "meta.json").write_text(text)
        return
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as temporary:
        folder = pathlib.Path(temporary)
        _write_members(folder, name, parts, classes is not None)
        members: dict[str, Any] = {file.stem: np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))}
        archive = folder / "archive"
        with open(archive, "wb") as file:
            np.savez_compressed(file, meta=np.frombuffer(text.encode(), np.uint8), **members)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):
            archive.chmod(0o644)
        os.replace(archive, path)


def _write_members(folder, name, parts, labeled):
    for split, (count, spec, batches) in parts.items():
        made = {}
        for key, (shape, dtype) in spec.items():
            if key == "id" or (key == "label" and not labeled):
                continue
            dtype = np.int64 if key == "label" else np.dtype(dtype)
            file = folder / f"{key}.{split}.npy"
            made[key] = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=(count, *shape))
        start = 0
        for batch in batches:
            stop = start + len(next(iter(batch.values())))
            for key, array in made.items():
                array[start:stop] = batch[key]
            start = stop
        if start != count:
            raise ValueError(f"export: expected {count} examples of {name} {split}. Received: {start}.")


def place(
    name: str,
    size: int | None = None,
    channels: int | None = None,
    image: str | None = None,
    extra: Sequence[str] = (),
    data_dir: Any = None,
) -> pathlib.Path:
    """Returns where `load` looks for the export of a dataset: `DATA_DIR/arrays/NAME[-SIZE][-...].npz`.

    Arguments are those of `zoo.data.sources.load`.

    Returns:
        Path of the archive, which need not exist; an export in the form of a folder has the same name without `.npz`.
    """
    folder = pathlib.Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    words = [re.sub(r"[^\w.]+", "_", name).strip("_")]
    words += [str(size)] if size else []
    words += [f"{channels}channels"] if channels else []
    words += [f"image_is_{image}"] if image else []
    words += ["with_" + "+".join(sorted(extra))] if extra else []
    return folder / "arrays" / ("-".join(words) + ".npz")


def check(export: Export, wanted: Mapping[str, Any], extra: Sequence[str] = ()) -> list[str]:
    """Checks that an export was made with the settings that are asked for.

    Args:
        export: an `Export`.
        wanted: some of `name`, `size`, `channels`, `image` and `white`, as asked for.
        extra: names of further keys that are asked for; all that the export has if empty.

    Returns:
        The keys to read.

    Raises:
        ValueError: the export was made with other settings, or lacks a key.
    """
    for name, value in wanted.items():
        made = export.meta.get(name)  # older exports do not mention all
        if made != value:
            raise ValueError(
                f"load: expected {name}={value!r}. Received: {export.path}, which was made with {name}={made!r}; "
                "export the data again by `zoo-data export`."
            )
    keys = list(export.meta["keys"])
    for name in extra:
        checks.one_of("load", "extra", name, [key for key in keys if key != "image"])
    return [key for key in keys if key == "image" or not extra or key in extra]
