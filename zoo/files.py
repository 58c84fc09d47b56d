"""Files and folders that are written atomically: completely or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator


def write(path: str | os.PathLike, text: str) -> None:
    """Writes a text file atomically: readers see the old file or the new one, even if the process dies meanwhile.

    Args:
        path: path of the file, whose folder must exist.
        text: contents, written as UTF-8.

    Raises:
        OSError: the file cannot be written. An old file stays unchanged.
    """
    path = pathlib.Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        pathlib.Path(temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def folder(path: str | os.PathLike, overwrite: bool = False) -> Iterator[pathlib.Path]:
    """Makes a folder that appears, filled, when the `with` block ends, and does not appear if the block raises.

    Args:
        path: path of the folder; missing parents are made.
        overwrite: whether to replace an existing folder. This takes two steps: the old folder is moved aside, and moved
            back if the new one cannot take its place.

    Yields:
        The path of a temporary folder to fill, beside the final one.

    Raises:
        OSError: without `overwrite`, if the path is a non-empty folder when the block ends.
    """
    path = pathlib.Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.new.", dir=path.parent))
    try:
        yield temporary
        # Temporary folders are private; the finished folder has ordinary permissions.
        temporary.chmod(0o755)
        if overwrite and path.exists():
            _swap(temporary, path)
        else:
            os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new, path):
    aside = new.with_name(f"{new.name}.old")
    os.rename(path, aside)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(aside, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)
