"""Data sets as plain arrays: what trains where neither TensorFlow nor TFDS is installed.

An export holds every split of one data set, as `zoo-data export` decodes and fits it:

    meta            JSON: format, name, size, channels, modalities, classes, splits with their sizes
    image.SPLIT     uint8 [n, H, W, C]
    label.SPLIT     int64 [n], -1 where unknown; only where there are labels

as the members of one compressed `.npz` archive, which is read into memory, or as `.npy` files (and `meta.json`) of a
folder, which are mapped into memory and hence may exceed it. Arrays only: nothing in it is ever executed.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import tempfile
import zipfile
import zlib

import numpy as np

from zoo.data import numpy_stream

FORMAT = 1
_DAMAGED = (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error)


class Arrays:
    """Decoded images in memory, or mapped into it: a store, see `zoo.data.stores`, of NumPy.

    Args:
        pixels: uint8 `[n, H, W, C]`.
        labels: np.int64 `[n]`, or None.
    """

    fallible = False
    in_memory = True
    stream = numpy_stream

    def __init__(self, pixels, labels):
        self.pixels = pixels
        self.labels = labels
        self.image_shape = tuple(pixels.shape[1:])

    def batch(self, positions):
        """Positions, int64 `[B]`, to images and labels."""
        labels = np.full(len(positions), -1, np.int64) if self.labels is None else self.labels[positions]
        return {"image": self.pixels[positions], "label": labels}


class Export:
    """One export, opened.

    Args:
        path: of the archive or of the folder.

    Attributes:
        meta: what it says of itself, a dictionary.
        counts: split name -> number of examples.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or of another format.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path).expanduser()
        if not self.path.exists():
            raise FileNotFoundError(f"load: expected what `zoo-data export` wrote. Received: {self.path}, no file.")
        try:
            self._archive = None if self.path.is_dir() else np.load(self.path, allow_pickle=False)
            text = (self.path / "meta.json").read_bytes() if self.path.is_dir() else self._archive["meta"].tobytes()
            self.meta = json.loads(text)
            self.counts = dict(self.meta["splits"])
        except _DAMAGED as error:
            raise self._damaged(error) from error
        if self.meta.get("format") != FORMAT:
            raise ValueError(f"load: expected an export of format {FORMAT}. Received: {self.meta.get('format')!r}.")

    def _damaged(self, error):
        return ValueError(f"load: expected a whole export. Received: {self.path} ({error}); make it anew.")

    def _member(self, name):
        try:
            if self.path.is_dir():
                return np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            return self._archive[name]
        except _DAMAGED as error:
            raise self._damaged(error) from error

    def pixels(self, names):
        """The images of some splits, one after the other, uint8 `[n, H, W, C]`; of one split, without a copy."""
        parts = [self._member(f"image.{name}") for name in names]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def labels(self, names):
        """Their labels, np.int64 `[n]`, or None."""
        if self.meta["classes"] is None:
            return None
        return np.concatenate([np.asarray(self._member(f"label.{name}"), np.int64) for name in names])


def write(path, name, parts, classes, modalities=None, size=None, channels=None):
    """Writes an export, whole or not at all.

    Args:
        path: of an archive, if it ends in `.npz`, else of a folder; must not exist.
        name: of the data set.
        parts: split name -> (number of examples, image shape, iterator of batches `{"image", "label"}`).
        classes: names of the classes, or None.
        modalities: see `zoo.data.sources.load`; name -> how many of the channels.
        size: as given to `load`.
        channels: as given to `load`.

    Raises:
        FileExistsError: something is there already.
    """
    path = pathlib.Path(path).expanduser()
    if path.exists():
        raise FileExistsError(f"export: expected a new file or folder. Received: {path}, which exists.")
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = {"format": FORMAT, "name": name, "size": size, "channels": channels, "modalities": modalities}
    meta |= {"classes": classes, "splits": {split: part[0] for split, part in parts.items()}}
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        folder = pathlib.Path(folder)
        for split, (count, shape, batches) in parts.items():
            images = _made(folder / f"image.{split}.npy", np.uint8, (count, *shape))
            labels = _made(folder / f"label.{split}.npy", np.int64, (count,)) if classes is not None else None
            start = 0
            for batch in batches:
                stop = start + len(batch["image"])
                images[start:stop] = batch["image"]
                if labels is not None:
                    labels[start:stop] = batch["label"]
                start = stop
            if start != count:
                raise ValueError(f"export: expected {count} examples of {name} {split}. Received: {start}.")
        text = json.dumps(meta, indent=1)
        if path.suffix != ".npz":
            (folder / "meta.json").write_text(text)
            whole = folder / "whole"
            whole.mkdir(mode=0o755)
            for file in folder.glob("*.*"):
                shutil.move(file, whole)
            os.replace(whole, path)
            return
        members = {file.stem: np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))}
        archive = folder / "archive"
        with open(archive, "wb") as file:
            np.savez_compressed(file, meta=np.frombuffer(text.encode(), np.uint8), **members)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):
            archive.chmod(0o644)
        os.replace(archive, path)


def _made(path, dtype, shape):
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def place(name, size=None, channels=None, modalities=None, data_dir=None):
    """Where the export of a data set lies that is loaded by its name: `DATA_DIR/arrays/NAME[-SIZE][-...].npz`.

    Args are those of `zoo.data.sources.load`.

    Returns:
        Path of the archive, without whether it exists; a folder is of the same name without `.npz`.
    """
    folder = pathlib.Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    words = [re.sub(r"[^\w.]+", "_", name).strip("_")]
    words += [str(size)] if size else []
    words += [f"{channels}channels"] if channels else []
    words += ["+".join(modalities)] if modalities else []
    return folder / "arrays" / ("-".join(words) + ".npz")


def check(export, wanted):
    """Refuses an export that was made with other settings than are asked for.

    Args:
        export: an `Export`.
        wanted: of `name`, `size`, `channels` and `modalities` those that are asked for.
    """
    for name, value in wanted.items():
        made = export.meta[name]
        made = list(made) if name == "modalities" and made else made
        value = list(value) if name == "modalities" and value else value
        if made != value:
            raise ValueError(
                f"load: expected {name}={value!r}. Received: {export.path}, which was made with {name}={made!r}; make "
                "it anew by `zoo-data export`."
            )
