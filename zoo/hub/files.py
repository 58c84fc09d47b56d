"""Small files, written whole or not at all."""

import os
import pathlib
import tempfile


def write(path, text):
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
