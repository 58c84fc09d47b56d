"""Random access to TFRecord files, by an index of all records that is built once and cached.

The file format is that of https://www.tensorflow.org/tutorials/load_data/tfrecord: a length (uint64, little-endian),
its checksum (uint32), the bytes, their checksum (uint32).
"""

import hashlib
import io
import logging
import mmap
import os
import pathlib
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo import files

_log = logging.getLogger(__name__)
_HEADER, _FOOTER = 12, 4
_LENGTH = struct.Struct("<Q")


class Index:
    """The records of several files, numbered from the first file to the last.

    Args:
        paths: TFRecord files on a local file system.
        counts: number of records that each file must hold.
        cache: folder of cached indices; `$ZOO_CACHE/records` or `~/.cache/zoo/records` by default. None: no cache.

    Raises:
        ValueError: a file is cut off, or holds another number of records.
    """

    def __init__(self, paths: Sequence[str | os.PathLike], counts: Sequence[int], cache: Any = "default"):
        self.paths = [os.fspath(path) for path in paths]
        found = _cached(self.paths, _cache_folder() if cache == "default" else cache)
        for path, (offsets, _), count in zip(self.paths, found, counts, strict=True):
            if len(offsets) != count:
                raise ValueError(
                    f"records: expected {count} records, as the metadata of the dataset states. "
                    f"Received: {len(offsets)} in {path!r}; prepare the dataset again."
                )
        self._file = np.repeat(np.arange(len(self.paths)), counts)
        self._offset = np.concatenate([offsets for offsets, _ in found])
        self._length = np.concatenate([lengths for _, lengths in found])

    def __len__(self):
        return len(self._file)

    def path(self, position: int) -> str:
        """Returns the file of a record."""
        return self.paths[self._file[position]]

    def read(self, positions: Any) -> np.ndarray:
        """Returns the bytes of the records at `positions`, integers `[B]`, as an object array `[B]`."""
        positions = np.asarray(positions)
        out = np.empty(len(positions), dtype=object)
        numbers = self._file[positions]
        # Files are opened per batch: keeping a thousand shards open would exceed the usual limit of handles.
        for number in np.unique(numbers):
            handle = os.open(self.paths[number], os.O_RDONLY)
            try:
                for row in np.flatnonzero(numbers == number):
                    out[row] = os.pread(handle, self._length[positions[row]], self._offset[positions[row]])
            finally:
                os.close(handle)
        return out


def scan(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Finds the records of one file.

    Returns:
        Offsets and lengths of the records in bytes, np.int64 `[n]` each.

    Raises:
        ValueError: the file ends within a record.
    """
    offsets, lengths, offset = [], [], 0
    size = os.path.getsize(path)
    if size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while offset + _HEADER <= size:
            length = _LENGTH.unpack_from(data, offset)[0]
            offsets.append(offset + _HEADER)
            lengths.append(length)
            offset += _HEADER + length + _FOOTER
    if offset != size:
        raise ValueError(
            f"records: expected complete TFRecords. Received: {os.fspath(path)!r}, which ends within a record, at byte "
            f"{size}; prepare the dataset again."
        )
    return np.array(offsets, np.int64), np.array(lengths, np.int64)


def _cached(paths, folder):
    """Results of `scan` for every path, from the cache in `folder` if the files have not changed since."""
    if folder is None:
        return [scan(path) for path in paths]
    states = [(os.path.abspath(path), stat.st_size, stat.st_mtime_ns) for path in paths for stat in [os.stat(path)]]
    file = pathlib.Path(folder) / (hashlib.sha256(repr(states).encode()).hexdigest()[:32] + ".npz")
    try:
        with np.load(file) as kept:
            ends = np.cumsum(kept["counts"])[:-1]
            return list(zip(np.split(kept["offsets"], ends), np.split(kept["lengths"], ends), strict=True))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError) as error:
        _log.warning("The index %s cannot be read (%s); scanning the records again.", file, error)
    found = [scan(path) for path in paths]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        offsets, lengths = (np.concatenate(parts) for parts in zip(*found, strict=True))
        content = io.BytesIO()
        np.savez(content, counts=[len(part) for part, _ in found], offsets=offsets, lengths=lengths)
        files.write(file, content.getvalue())
    except OSError as error:
        _log.warning("The index of the records cannot be cached in %s (%s); the next run scans again.", folder, error)
    return found


def _cache_folder():
    return pathlib.Path(os.environ.get("ZOO_CACHE") or pathlib.Path.home() / ".cache" / "zoo") / "records"
