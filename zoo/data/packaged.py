"""Datasets whose raw files were installed by a package manager instead of downloaded by TFDS."""

import dataclasses
import gzip
import hashlib
import pathlib
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core.download import checksums, resource

from zoo import checks, files
from zoo.data import openclipart


@dataclasses.dataclass(frozen=True)
class Package:
    """The raw files of a dataset, identified by their decompressed contents.

    Args:
        builder: TFDS name of the dataset.
        folder: folder in which the package manager installs the files.
        digests: file name -> SHA-256 of the decompressed bytes; None if the TFDS builder reads and verifies the folder
            itself, as its `manual_dir`.
    """

    builder: str
    folder: str
    digests: dict[str, str] | None


# Debian compresses the files anew, so the checksums of TFDS, which are those of compressed bytes, do not match.
PACKAGES = {
    "fashion_mnist": Package(
        "fashion_mnist",
        "/usr/share/datasets/fashion-mnist",  # Debian's dataset-fashion-mnist
        {
            "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
    "openclipart": Package("openclipart", openclipart.FOLDER, None),  # Debian's openclipart-png
}


def seed_downloads(name: str, folder: Any = None, data_dir: Any = None) -> Any:
    """Verifies the raw files of a package and stores them as finished downloads of TFDS.

    Afterwards `tfds.load(name)` needs no network. All files are verified before the first is written.

    Args:
        name: a key of `PACKAGES` that has digests.
        folder: folder of the files; that of the package manager by default.
        data_dir: data folder of TFDS; the default of TFDS if None.

    Returns:
        The TFDS builder, not yet prepared.

    Raises:
        ValueError: an unknown name, or a file with other contents.
        FileNotFoundError: a missing file.
    """
    package = _known(name)
    folder = pathlib.Path(folder or package.folder).expanduser()
    sources = {file: _verified(folder / file, digest) for file, digest in (package.digests or {}).items()}

    builder = tfds.builder(package.builder, data_dir=data_dir)
    downloads = pathlib.Path(builder.data_dir).parents[1] / "downloads" / builder.name
    urls = {info.filename: (url, info) for url, info in builder.url_infos.items()}
    if set(urls) != set(sources):
        raise ValueError(
            f"import: expected a version of TFDS that downloads {', '.join(sorted(sources))}. "
            f"Received: {', '.join(sorted(urls))} from tensorflow_datasets {tfds.__version__}."
        )
    downloads.mkdir(parents=True, exist_ok=True)
    for file, source in sources.items():
        url, info = urls[file]
        target = downloads / resource.get_dl_fname(url, info.checksum)
        files.write(target, source.read_bytes())
        # TFDS trusts a download that has this note, which is therefore written last.
        resource.write_info_file(
            url=url,
            path=epath.Path(target),
            dataset_name=builder.name,
            original_fname=file,
            url_info=checksums.UrlInfo(size=info.size, checksum=info.checksum, filename=file),
        )
    return builder


def _verified(path, digest):
    if not path.is_file():
        raise FileNotFoundError(f"import: expected a file. Received: path={str(path)!r}, which does not exist.")
    found = hashlib.sha256()
    try:
        with gzip.open(path) as file:
            while block := file.read(1 << 20):
                found.update(block)
    except (OSError, EOFError) as error:
        raise ValueError(f"import: expected a whole gzip file. Received: path={str(path)!r} ({error}).") from error
    if found.hexdigest() != digest:
        raise ValueError(
            f"import: expected decompressed bytes with SHA-256 {digest}. "
            f"Received: path={str(path)!r} with {found.hexdigest()}."
        )
    return path


def imported(name: str, folder: Any = None, data_dir: Any = None) -> Any:
    """Prepares a dataset from the raw files of a package.

    Args:
        name: a key of `PACKAGES`.
        folder: folder of the files; that of the package manager by default.
        data_dir: data folder of TFDS; the default of TFDS if None.

    Returns:
        The prepared TFDS builder.

    Raises:
        ValueError: an unknown name, or files with other contents.
        FileNotFoundError: a missing file or folder.
    """
    package = _known(name)
    if package.digests is not None:
        builder = seed_downloads(name, folder, data_dir)
        builder.download_and_prepare()
        return builder
    folder = pathlib.Path(folder or package.folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"import: expected a folder. Received: folder={str(folder)!r}, which does not exist.")
    builder = tfds.builder(package.builder, data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=folder))
    return builder


def _known(name):
    checks.one_of("import", "name", name, sorted(PACKAGES))
    return PACKAGES[name]
