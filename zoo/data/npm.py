"""Files of npm packages: of a tarball, verified by the integrity that its registry publishes, or of a folder.

An integrity is a digest in the form of https://www.w3.org/TR/SRI: the algorithm, a dash, and the digest in base 64.
"""

import base64
import hashlib
import os
import pathlib
import tarfile
from collections.abc import Callable, Iterator


def verify(path: str | os.PathLike, integrity: str) -> None:
    """Raises an error unless a file has the bytes that an integrity describes.

    Raises:
        ValueError: other bytes.
        OSError: it cannot be read.
    """
    algorithm, _, expected = integrity.partition("-")
    with open(path, "rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, algorithm).digest()).decode()
    if found != expected:
        raise ValueError(
            f"npm: expected a file with integrity {integrity}. Received: path={os.fspath(path)!r} with "
            f"{algorithm}-{found}."
        )


def contents(path: str | os.PathLike, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yields the files of a package: their paths in it, and what they hold.

    Args:
        path: tarball or folder of a package. Nothing is unpacked.
        wanted: whether a file with a relative POSIX path is yielded.

    Raises:
        ValueError: a tarball that is broken.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path).as_posix()
            if wanted(name) and file.is_file():
                yield name, file.read_bytes()
        return
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.partition("/")[2]  # all lies in one folder, mostly called `package`
                if wanted(name) and (inside := archive.extractfile(member)):
                    yield name, inside.read()
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"npm: expected a whole tarball. Received: path={str(path)!r} ({error}).") from error
