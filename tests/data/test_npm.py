import hashlib
import io
import subprocess
import tarfile

import pytest

from zoo.data import npm

FILES = {"package.json": b"{}", "json/a.json": b"1", "json/b.json": b"22", "lib/c.js": b"333"}


def tarball(path, contents):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_a_tarball_and_a_folder_hold_the_same(tmp_path):
    archive = tarball(tmp_path / "x.tgz", {f"package/{name}": content for name, content in FILES.items()})
    for name, content in FILES.items():
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_bytes(content)
    for path in (archive, tmp_path / "x"):
        assert dict(npm.contents(path, lambda name: name.startswith("json/"))) == {
            name: content for name, content in FILES.items() if name.startswith("json/")
        }


def test_integrity(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"something")
    command = f"openssl dgst -sha512 -binary {path} | base64 -w0"
    found = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
    npm.verify(path, f"sha512-{found}")
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="npm: expected a file with integrity sha512-.*Received: path=.*file"):
        npm.verify(path, f"sha512-{found}")


def test_nothing_is_unpacked(tmp_path):
    archive = tarball(tmp_path / "x.tgz", {"package/../../evil": b"x", "/package/evil": b"y"})
    assert len(list(npm.contents(archive, lambda name: True))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x.tgz"] and not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("length", [0, 30, 20_000])
def test_refuses_a_broken_tarball(length, tmp_path):
    noise = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(1000))
    archive = tarball(tmp_path / "x.tgz", {"package/a": noise, "package/b": noise[::-1]})
    assert archive.stat().st_size > 40_000
    archive.write_bytes(archive.read_bytes()[:length])
    with pytest.raises(ValueError, match="npm: expected a whole tarball"):
        list(npm.contents(archive, lambda name: True))
