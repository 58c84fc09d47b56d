"""Small files and folders, written whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator


def write(path: str | os.PathLike, text: str) -> None:
    """Writes a text in one step: readers see the old file or the new one, also when the process dies in between.

    Args:
        path: the file; its folder must exist.
        text: written as UTF-8.

    Raises:
        OSError: when it cannot be written. The old file, if any, is as it was.
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
    """A folder that appears at its path in one step, filled, when the `with` block ends; after an error, not at all.

    Args:
        path: of the folder; its parent is made when missing.
        overwrite: whether it replaces one that is there by then, in two steps: what was there is moved aside, and put
            back if the second fails.

    Yields:
        The path of a temporary folder beside it, to fill.

    Raises:
        OSError: without `overwrite`, where there is a folder with something in it by then.
    """
    path = pathlib.Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.new.", dir=path.parent))
    try:
        yield temporary
        # Temporary folders are private; a finished one is as readable as any other.
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
