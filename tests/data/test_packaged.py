import base64
import gzip
import pathlib
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from zoo.data import packaged

DEBIAN = pathlib.Path(packaged.PACKAGES["fashion_mnist"].folder)
needs_debian = pytest.mark.skipif(not DEBIAN.is_dir(), reason="the package dataset-fashion-mnist is not installed")


def test_tfds_still_names_the_same_files():
    # TFDS does not promise the names and the place of the note on which seed_downloads relies.
    from tensorflow_datasets.core.download import resource

    builder = tfds.builder("fashion_mnist")
    names = {info.filename: url for url, info in builder.url_infos.items()}
    assert set(names) == set(packaged.PACKAGES["fashion_mnist"].digests)
    url = names["t10k-labels-idx1-ubyte.gz"]
    digest = "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    assert builder.url_infos[url].checksum == digest
    name = resource.get_dl_fname(url, digest)
    assert name.endswith(base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=") + ".gz")


def test_tfds_knows_every_builder():
    # In a process of its own, in which no test has imported the builders.
    code = (
        "import tensorflow_datasets as tfds; from zoo.data import packaged; "
        "print([tfds.builder(package.builder).name for _, package in sorted(packaged.PACKAGES.items())])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == str(sorted(packaged.PACKAGES))


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte.gz'.*does not exist"):
        packaged.imported("fashion_mnist", tmp_path, tmp_path / "tfds")
    assert not (tmp_path / "tfds").exists()


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"something else"), gzip.compress(b"cut" * 999)[:-9], b"no gzip"],
    ids=["other", "cut", "no gzip"],  # a gzip file holds its time, by which two processes would name it differently
)
def test_other_contents(tmp_path, content):
    for name in packaged.PACKAGES["fashion_mnist"].digests:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="import: expected"):
        packaged.imported("fashion_mnist", tmp_path, tmp_path / "tfds")
    assert not (tmp_path / "tfds").exists()


def test_unknown_name():
    with pytest.raises(ValueError, match="expected `name` to be one of 'fashion_mnist', 'icons', 'openclipart'"):
        packaged.imported("mnist")


@needs_debian
def test_nothing_is_written_before_everything_is_verified(tmp_path):
    for name in packaged.PACKAGES["fashion_mnist"].digests:
        if name != "t10k-labels-idx1-ubyte.gz":
            (tmp_path / name).symlink_to(DEBIAN / name)
    with pytest.raises(FileNotFoundError, match="t10k-labels"):
        packaged.imported("fashion_mnist", tmp_path, tmp_path / "tfds")
    assert not (tmp_path / "tfds").exists()


@needs_debian
def test_tfds_takes_the_files_for_its_own_downloads(tmp_path):
    builder = packaged.seed_downloads("fashion_mnist", DEBIAN, tmp_path)
    manager = tfds.download.DownloadManager(
        download_dir=tmp_path / "downloads",
        dataset_name="fashion_mnist",
        url_infos=builder.url_infos,
        force_checksums_validation=True,
    )
    for url, info in builder.url_infos.items():
        # An unknown file would be fetched, and fail.
        found = manager.download(url)
        assert gzip.decompress(found.read_bytes()) == gzip.decompress((DEBIAN / info.filename).read_bytes())
    left = [path.name for path in (tmp_path / "downloads" / "fashion_mnist").iterdir()]
    assert len(left) == 8 and not any(name.startswith(".import") for name in left)


@needs_debian
@pytest.mark.slow
def test_the_whole_way(tmp_path):
    packaged.imported("fashion_mnist", DEBIAN, tmp_path)
    data, info = tfds.load("fashion_mnist", data_dir=tmp_path, with_info=True, download=False)
    assert info.splits["train"].num_examples == 60000 and info.splits["test"].num_examples == 10000
    assert next(iter(data["test"]))["image"].shape == (28, 28, 1)
