"""Versions that come and go, and the configuration that says which are served."""

import functools
import os
import shutil

import numpy as np
import pytest
import requests
from google.protobuf import text_format
from reference import running, toy_models

from zoo.serving import client, messages_pb2, repository, servable, status

OLD, NEW = [2.5], [3.5]  # what versions 1 and 2 of `half` answer to 1
ONE = np.ones(1, np.float32)


def appear(source, folder):
    """A version comes in one step, as `deployment.copy` does it."""
    temporary = folder.with_name(f".{folder.name}")
    shutil.copytree(source, temporary)
    os.rename(temporary, folder)


@pytest.fixture
def half(deployed, tmp_path):
    """A folder with version 1 of `half`."""
    shutil.copytree(deployed / "half" / "1", tmp_path / "half" / "1")
    return tmp_path / "half"


@pytest.fixture
def encoder(deployed, tmp_path):
    """A folder with version 7 of the encoder, and 8 to come."""
    shutil.copytree(deployed / "encoder" / "7", tmp_path / "encoder" / "7")
    return tmp_path / "encoder"


def look(models):
    """Folders without a card are loaded when two looks agree."""
    models.poll()
    models.poll()


def states(models, name):
    return {version: state.state for version, state in models.states(name).items()}


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_new_version_takes_over_without_a_lost_answer(half, deployed, scheme):
    answers = []
    with running.running((repository.Model("half", half),), grpc_port=0, poll_seconds=0.05) as made:
        port = made.ports["rest" if scheme == "http" else "grpc"]
        with client.Client(f"{scheme}://127.0.0.1:{port}", "half", retries=0) as asked:

            def ask():
                (answer,) = asked.predict("serving_default", {"x": ONE}).values()
                answers.append(answer.tolist())

            with running.repeated(ask) as thread:
                running.until(lambda: len(answers) > 5 or not thread.is_alive())
                appear(deployed / "half" / "2", half / "2")
                running.until(lambda: answers[-1] == NEW or not thread.is_alive())
                shutil.rmtree(half / "1")
                count = len(answers)
                running.until(lambda: len(answers) > count + 5 or not thread.is_alive())
        changes = [each for each, before in zip(answers, [None, *answers], strict=False) if each != before]
        assert changes == [OLD, NEW]
        assert states(made.repository, "half") == {1: "END", 2: "AVAILABLE"}
        url = running.url(made, "/v1/models/half")
        assert requests.get(f"{url}/versions/1").json()["model_version_status"][0]["state"] == "END"
        assert requests.post(f"{url}/versions/1:predict", json={"instances": [1.0]}).status_code == 404


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_half_written_encoder_waits_until_it_is_whole(encoder, damage):
    models = repository.Repository(
        [repository.Model("encoder", encoder)], functools.partial(servable.Servable, warm=False)
    )
    models.poll()
    shutil.copytree(encoder / "7", encoder / "8")
    (part,) = (encoder / "8" / "variables").glob("*.data*")
    whole = part.read_bytes()
    if damage == "missing":
        part.unlink()
    else:
        part.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"\0" * len(whole))
    assert models.poll()
    assert models.find("encoder").version == 7
    assert states(models, "encoder") == {7: "AVAILABLE", 8: "END"}
    failed = models.states("encoder", 8)[8]
    assert failed.code != "OK"
    assert part.name in failed.message
    assert not models.poll()  # nothing has changed: it is not tried again
    part.write_bytes(whole)
    assert models.poll()
    assert models.find("encoder").version == 8
    assert states(models, "encoder") == {7: "END", 8: "AVAILABLE"}


@pytest.mark.parametrize("written", [(), ("saved_model.pb",), ("variables",), ("half of saved_model.pb", "variables")])
def test_a_half_written_model_without_a_card_waits(half, deployed, written):
    models = repository.Repository([repository.Model("half", half)])
    models.poll()
    (half / "2").mkdir()
    for name in written:
        source = deployed / "half" / "2" / name.split()[-1]
        if source.is_dir():
            shutil.copytree(source, half / "2" / source.name)
        else:
            data = source.read_bytes()
            (half / "2" / source.name).write_bytes(data[: len(data) // 2] if " " in name else data)
    models.poll()
    assert 2 not in models.states("half")
    models.poll()
    assert models.find("half").version == 1
    assert models.states("half")[2].message
    shutil.copytree(deployed / "half" / "2", half / "2", dirs_exist_ok=True)
    look(models)
    assert models.find("half").version == 2


def test_the_status_of_a_half_written_version_is_told(half):
    with running.running((repository.Model("half", half),), poll_seconds=0.05) as made:
        (half / "2").mkdir()
        (half / "2" / "saved_model.pb").write_bytes(b"?")
        url = running.url(made, "/v1/models/half")
        running.until(lambda: requests.get(f"{url}/versions/2").status_code == 200)
        running.until(lambda: states(made.repository, "half")[2] == "END")
        (told,) = requests.get(f"{url}/versions/2").json()["model_version_status"]
        assert (told["version"], told["state"]) == ("2", "END")
        assert told["status"]["error_code"] != "OK"
        assert told["status"]["error_message"]
        assert running.predict(made, "half", {"instances": [1.0]}) == (200, {"predictions": OLD})


class Loaded:
    """Stands for a servable."""

    def __init__(self, name, version, folder):
        if (folder / "broken").exists():
            raise ValueError("broken")
        self.name, self.version = name, version


@pytest.fixture
def many(tmp_path):
    for name in ("1", "2", "10", "notes", "3.new", "-4", ".5"):
        (tmp_path / "m" / name).mkdir(parents=True)
        (tmp_path / "m" / name / "file").touch()
    (tmp_path / "m" / "11").write_text("a file")
    return tmp_path / "m"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, [10]),
        ({"latest": 2}, [2, 10]),
        ({"latest": 9}, [1, 2, 10]),
        ({"latest": 0}, [1, 2, 10]),
        ({"specific": (1, 10)}, [1, 10]),
        ({"specific": (1, 77)}, [1]),
    ],
    ids=str,
)
def test_policies(many, policy, expected):
    models = repository.Repository([repository.Model("m", many, **policy)], Loaded)
    models.poll()
    assert list(models.states("m")) == expected
    assert models.find("m").version == max(expected)


def test_versions_leave_and_come_back(many):
    models = repository.Repository([repository.Model("m", many)], Loaded)
    models.poll()
    os.rename(many / "10", many / "aside")
    look(models)
    assert models.find("m").version == 2
    assert states(models, "m") == {2: "AVAILABLE", 10: "END"}
    with pytest.raises(status.ServingError, match="Model m: expected a version among 2. Received: version=10"):
        models.find("m", 10)
    os.rename(many / "aside", many / "10")
    look(models)
    assert states(models, "m") == {2: "END", 10: "AVAILABLE"}


def test_one_broken_model_leaves_the_others_alone(many):
    (many / "10" / "broken").touch()
    models = repository.Repository([repository.Model("m", many), repository.Model("n", many, specific=(1,))], Loaded)
    models.poll()
    assert models.find("n").version == 1
    assert models.failures() == ["m: 10: broken"]
    (many / "10" / "broken").unlink()
    look(models)
    assert models.find("m").version == 10


def test_labels(many):
    labels = (("stable", 1), ("gone", 77))
    models = repository.Repository([repository.Model("m", many, specific=(1, 2), labels=labels)], Loaded)
    models.poll()
    assert models.find("m", label="stable").version == 1
    assert list(models.states("m", label="stable")) == [1]
    with pytest.raises(status.ServingError, match="a label among stable, gone. Received: label='other'") as caught:
        models.find("m", label="other")
    assert caught.value.code == "INVALID_ARGUMENT"
    with pytest.raises(status.ServingError, match="Model m: expected a version among 1, 2. Received: version=77"):
        models.find("m", label="gone")


def test_names_that_are_close_are_suggested(many):
    models = repository.Repository([repository.Model("encoder", many)], Loaded)
    with pytest.raises(status.ServingError, match="name='encodr'. Did you mean 'encoder'"):
        models.find("encodr")


def test_a_server_of_nothing_does_not_start(half):
    shutil.rmtree(half / "1" / "variables")
    with pytest.raises(ValueError, match="^Server: expected a version to serve of every model. Received: half: 1: "):
        with running.running((repository.Model("half", half),)):
            pass


# Configuration


def test_the_configuration_of_the_toys(deployed):
    half, toys, encoder = repository.configured(deployed / "models.config")
    labels = (("canary", 2), ("stable", 1))
    assert half == repository.Model("half", deployed / "half", specific=(1, 2), labels=labels)
    assert toys == repository.Model("toys", deployed / "toys", latest=0)
    assert encoder == repository.Model("encoder", deployed / "encoder")
    assert repository.named(deployed) == (half, toys, encoder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model_config_list { config { name: 'm' base_path: '/models/m' } ", "the text of a ModelServerConfig"),
        ("model_config_list { config { nam: 'm' } }", "1:30 : Message type .* has no field named .nam."),
        ("", "expected at least one model. Received: models=\\[\\]"),
        ("model_config_list {}", "expected at least one model"),
        ("model_config_list { config { base_path: '/models/m' } }", "expected models with a name and a folder"),
        ("model_config_list { config { name: 'm' } }", "Received: name='m', base_path=''"),
        ("model_config_list { config { name: 'm' base_path: '/none' } }", "base_path='/none'"),
    ],
    ids=range(7),
)
def test_errors_of_the_configuration(tmp_path, text, words):
    (tmp_path / "m").mkdir()
    (tmp_path / "models.config").write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        repository.configured(tmp_path / "models.config")
    assert "models.config" in str(caught.value)


def test_a_configuration_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="expected the path of a configuration file. Received: path=.*none"):
        repository.configured(tmp_path / "none")


def test_names_are_used_once(many):
    with pytest.raises(ValueError, match="Repository: expected `models` to be one or more of different names"):
        repository.Repository([repository.Model("m", many), repository.Model("m", many)], Loaded)


def test_what_a_user_may_mean(deployed, tmp_path, monkeypatch):
    (single,) = repository.named(deployed / "encoder" / "7")
    assert (single.name, single.single) == ("encoder", True)
    assert repository.named(deployed / "half") == (repository.Model("half", deployed / "half"),)
    (single,) = repository.named(deployed / "half" / "2")
    assert (single.name, single.versions()) == ("2", {1: deployed / "half" / "2"})
    with pytest.raises(ValueError, match="^repository: expected a folder with a saved_model.pb"):
        repository.named(tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'simclr_convnet_digits.e100'"):
        repository.named("simclr_convnet_digit.e100")


def test_the_official_package_reads_the_configuration(deployed):
    # Installed without what it asks for, by tools/environment.
    config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    theirs = text_format.Parse((deployed / "models.config").read_text(), config_pb2.ModelServerConfig())
    ours = text_format.Parse(toy_models.CONFIG, messages_pb2.ModelServerConfig())
    assert theirs.SerializeToString(deterministic=True) == ours.SerializeToString(deterministic=True)
