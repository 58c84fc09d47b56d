"""What `zoo-export --serving` writes, and that its README tells the truth."""

import contextlib
import io
import itertools
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from google.protobuf import text_format
from reference import programs, running

import zoo
from zoo.hub import cards
from zoo.models import convnet
from zoo.serving import batching, deployment, messages_pb2, metrics, repository

CONFIGURATION = {"models.config", "batching.config", "monitoring.config", "docker-compose.yml", "README.md"}


@pytest.fixture(scope="module")
def encoder():
    return convnet.convnet((8, 8, 3), (4, 6))


@pytest.fixture
def start(encoder, monkeypatch):
    return programs.export(encoder, monkeypatch)


@pytest.fixture(scope="module")
def written(encoder, deployed, tmp_path_factory):
    """A serving folder with two models, one of them in two versions."""
    folder = tmp_path_factory.mktemp("serving") / "served"
    with pytest.MonkeyPatch.context() as patch:
        start = programs.export(encoder, patch)
        start("--workdir=/runs/digits", "--serving", f"--out={folder}")
        start("--workdir=/runs/digits", "--serving", f"--out={folder}", "--nowarmup")
        start(f"--model={deployed / 'encoder' / '7'}", "--serving", f"--out={folder}", "--version=3", "--name=other")
    return folder


def versions(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*") if path.is_dir())


def test_the_folder(written):
    assert versions(written) == ["digits/1", "digits/2", "other/3"]
    assert {path.name for path in written.iterdir()} == CONFIGURATION | {"digits", "other"}
    for version in ("digits/1", "other/3"):
        assert cards.opened(written / version)
        assert (written / version / "saved_model.pb").is_file()
        assert (written / version / "assets.extra" / "tf_serving_warmup_requests").is_file()
        assert (written / version).stat().st_mode & 0o777 == 0o755
    assert not (written / "digits" / "2" / "assets.extra").exists()
    assert (written / "digits" / "example.png").is_file()
    assert cards.read(written / "digits" / "1")["name"] == "digits"


def test_every_version_is_a_model(written, encoder):
    images = np.random.default_rng(0).random((2, 8, 8, 3), dtype="float32")
    np.testing.assert_array_equal(zoo.load(written / "digits" / "2")(images), encoder(images))


def test_the_configuration_is_of_both_models(written):
    models = repository.configured(written / "models.config")
    assert models == tuple(repository.Model(name, written / name) for name in ("digits", "other"))
    config = repository.read_text(written / "models.config", messages_pb2.ModelServerConfig)
    places = [(entry.base_path, entry.model_platform) for entry in config.model_config_list.config]
    assert places == [("/models/digits", "tensorflow"), ("/models/other", "tensorflow")]
    read = repository.read_text(written / "batching.config", messages_pb2.BatchingParameters)
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    assert batching.Batching(**{name: getattr(read, name).value for name in names})
    monitoring = repository.read_text(written / "monitoring.config", messages_pb2.MonitoringConfig).prometheus_config
    assert (monitoring.enable, monitoring.path) == (True, metrics.PATH)


def test_the_official_package_reads_the_configuration(written):
    # Installed without what it asks for, by tools/environment. It has no message of batching.config.
    config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    config = text_format.Parse((written / "models.config").read_text(), config_pb2.ModelServerConfig())
    assert [entry.name for entry in config.model_config_list.config] == ["digits", "other"]


def test_the_container_is_given_what_is_there(written):
    compose = (written / "docker-compose.yml").read_text()
    named = re.findall(r"file=/models/(\S+)", compose)
    assert set(named) == {"models.config", "batching.config", "monitoring.config"}
    assert "127.0.0.1:8500:8500" in compose and "127.0.0.1:8501:8501" in compose


def cut(value):
    """An answer as the README shows it."""
    if isinstance(value, list):
        return [cut(each) for each in value[:3]] + ["..."] * (len(value) > 3)
    return {name: cut(each) for name, each in value.items()} if isinstance(value, dict) else value


def close(value, shown):
    if isinstance(shown, float):
        return abs(value - shown) < 2e-5
    if isinstance(shown, list):
        return len(value) == len(shown) and all(map(close, value, shown))
    if isinstance(shown, dict):
        return value.keys() == shown.keys() and all(close(value[name], shown[name]) for name in shown)
    return value == shown


def test_the_lines_of_the_readme_give_the_answers_of_the_readme(written, monkeypatch):
    monkeypatch.chdir(written)
    blocks = re.findall(r"```(bash|json|python)\n(.+?)```", pathlib.Path("README.md").read_text(), re.DOTALL)
    lines, programs_run = 0, 0
    with running.running(repository.named(written), grpc_port=0) as made:
        ports = {"8501": str(made.ports["rest"]), "8500": str(made.ports["grpc"])}
        for (language, text), (_, shown) in itertools.pairwise([*blocks, ("", "")]):
            text = re.sub("localhost:(850[01])", lambda found: f"127.0.0.1:{ports[found[1]]}", text)
            if text.startswith("curl"):
                done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60)
                assert close(cut(json.loads(done.stdout)), json.loads(shown)), done.stdout
                lines += 1
            elif language == "python":
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    exec(text, {})
                assert printed.getvalue().strip() == text.rpartition("# ")[2].strip()
                programs_run += 1
    assert (lines, programs_run) == (4, 2)


def test_a_version_is_written_once(written, start):
    before = (written / "digits" / "2" / "card.json").read_bytes()
    with pytest.raises(ValueError, match="expected a version other than \\[1, 2\\]. Received: version=2"):
        start("--workdir=/runs/digits", "--serving", f"--out={written}", "--version=2")
    assert (written / "digits" / "2" / "card.json").read_bytes() == before
    assert versions(written) == ["digits/1", "digits/2", "other/3"]


def test_settings_that_are_there_are_kept(written, tmp_path):
    folder = shutil.copytree(written, tmp_path / "served")
    labeled = (
        (written / "models.config")
        .read_text()
        .replace('name: "other"', 'name: "other" version_labels { key: "stable" value: 3 }')
    )
    (folder / "models.config").write_text(labeled)
    (folder / "batching.config").write_text("max_batch_size { value: 8 }")
    (folder / "docker-compose.yml").write_text("# mine")
    shutil.copytree(folder / "other", folder / "third")
    assert deployment.configure(folder) == ["digits", "other", "third"]
    found = {model.name: model for model in repository.configured(folder / "models.config")}
    assert found["other"].labels == (("stable", 3),)
    assert set(found) == {"digits", "other", "third"}
    assert (folder / "batching.config").read_text() == "max_batch_size { value: 8 }"
    assert (folder / "docker-compose.yml").read_text() == "# mine"
    assert "## third" in (folder / "README.md").read_text()


def test_a_copy_that_fails_leaves_nothing(deployed, tmp_path, monkeypatch):
    def full(source, target, **options):
        pathlib.Path(target, "card.json").write_text("{")
        raise OSError("No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(OSError, match="No space left"):
        deployment.copy(deployed / "encoder" / "7", tmp_path, "encoder", 1)
    assert not list((tmp_path / "encoder").iterdir())


def test_an_altered_model_is_not_copied(deployed, tmp_path):
    source = shutil.copytree(deployed / "encoder" / "7", tmp_path / "m")
    (source / "fingerprint.pb").write_bytes(b"?")
    with pytest.raises(ValueError, match="fingerprint.pb"):
        deployment.copy(source, tmp_path / "served", "m", 1)
    assert not (tmp_path / "served").exists()


@pytest.mark.parametrize("version", [0, -1, 2**63, True, "1", 1.0, None])
def test_versions_that_are_none(tmp_path, version):
    with pytest.raises(ValueError, match="^deployment: expected a version from 1"):
        deployment.place(tmp_path, "m", version)
