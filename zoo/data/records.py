"""Random access to TFRecord files: where every record lies, found once from the headers and kept.

The format is that of https://www.tensorflow.org/tutorials/load_data/tfrecord: a length (uint64, little-endian), its
checksum (uint32), the bytes, their checksum (uint32).
"""

import hashlib
import mmap
import os
import pathlib
import struct
import tempfile

import numpy as np
from absl import logging

_HEADER, _FOOTER = 12, 4
_LENGTH = struct.Struct("<Q")


class Index:
    """The records of several files, counted through.

    Args:
        paths: TFRecord files on a local file system.
        counts: records that each must hold.
        cache: folder for what was found; by default `$ZOO_CACHE/records`, or `~/.cache/zoo/records`. None: nowhere.

    Raises:
        ValueError: a file is cut off, or holds another number of records.
    """

    def __init__(self, paths, counts, cache="default"):
        self.paths = [os.fspath(path) for path in paths]
        found = _cached(self.paths, _cache_folder() if cache == "default" else cache)
        for path, (offsets, _), count in zip(self.paths, found, counts, strict=True):
            if len(offsets) != count:
                raise ValueError(
                    f"records: expected {count} records, as the dataset's information states. "
                    f"Received: {len(offsets)} in {path!r}; prepare the dataset again."
                )
        self._file = np.repeat(np.arange(len(self.paths)), counts)
        self._offset = np.concatenate([offsets for offsets, _ in found])
        self._length = np.concatenate([lengths for _, lengths in found])

    def __len__(self):
        return len(self._file)

    def path(self, position):
        """The file of a record."""
        return self.paths[self._file[position]]

    def read(self, positions):
        """The bytes of the records at `positions` `[B]`, as an object array `[B]`."""
        positions = np.asarray(positions)
        out = np.empty(len(positions), dtype=object)
        files = self._file[positions]
        by_file = np.argsort(files, kind="stable")
        opened, handle = None, None
        try:
            # Files are opened per batch: a thousand shards held open would exhaust the usual limit of handles.
            for row in by_file:
                if files[row] != opened:
                    if handle is not None:
                        os.close(handle)
                    handle = None
                    handle, opened = os.open(self.paths[files[row]], os.O_RDONLY), files[row]
                out[row] = os.pread(handle, self._length[positions[row]], self._offset[positions[row]])
        finally:
            if handle is not None:
                os.close(handle)
        return out


def scan(path):
    """Where the records of one file lie: their offsets and lengths, np.int64 `[n]` each.

    Raises:
        ValueError: the file ends within a record.
    """
    offsets, lengths, at = [], [], 0
    size = os.path.getsize(path)
    if size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while at + _HEADER <= size:
            length = _LENGTH.unpack_from(data, at)[0]
            offsets.append(at + _HEADER)
            lengths.append(length)
            at += _HEADER + length + _FOOTER
    if at != size:
        raise ValueError(
            f"records: expected whole TFRecords. Received: {os.fspath(path)!r}, which ends within a record, at byte "
            f"{size}; prepare the dataset again."
        )
    return np.array(offsets, np.int64), np.array(lengths, np.int64)


def _cached(paths, folder):
    """`scan` of every path, from `folder` if the files are those that were scanned then."""
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
        logging.warning("The index %s cannot be read (%s); scanning the records again.", file, error)
    found = [scan(path) for path in paths]
    try:
        _keep(file, found)
    except OSError as error:
        logging.warning("The index of the records cannot be kept in %s (%s); the next run scans again.", folder, error)
    return found


def _keep(file, found):
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as out:
            offsets, lengths = (np.concatenate(parts) for parts in zip(*found, strict=True))
            np.savez(out, counts=[len(part) for part, _ in found], offsets=offsets, lengths=lengths)
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise


def _cache_folder():
    return pathlib.Path(os.environ.get("ZOO_CACHE") or pathlib.Path.home() / ".cache" / "zoo") / "records"
