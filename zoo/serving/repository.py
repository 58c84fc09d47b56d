"""The models of a server: which versions exist, which are loaded, and which of them a request means.

A model is a folder of numbered version folders, as in TensorFlow Serving. New versions are loaded and warmed beside the
present ones and then take over; requests in flight keep the version that they began with.
"""

import dataclasses
import gc
import logging
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf import text_format

from zoo import checks
from zoo.hub import cards
from zoo.serving import messages_pb2, servable, status

CONFIG = "models.config"
# Where the container of `deployment` mounts the folder of the configuration.
MOUNT = "/models"
_LOG = logging.getLogger("zoo.serving")


@dataclasses.dataclass(frozen=True)
class Model:
    """A served name and the versions behind it.

    Args:
        name: name of the model.
        folder: folder of its versions, or with `single` of its only one.
        single: whether `folder` is a SavedModel itself, served as version 1.
        latest: how many of the newest versions to serve; 0: all.
        specific: versions to serve, whatever else exists; () for `latest`.
        labels: pairs (label, version).
    """

    name: str
    folder: pathlib.Path
    single: bool = False
    latest: int = 1
    specific: tuple[int, ...] = ()
    labels: tuple[tuple[str, int], ...] = ()

    def versions(self) -> dict[int, pathlib.Path]:
        """Returns the folders of all versions by number."""
        if self.single:
            return {1: self.folder}
        found = sorted(self.folder.iterdir()) if self.folder.is_dir() else ()
        return {int(path.name): path for path in found if _is_version(path)}

    def wanted(self) -> dict[int, pathlib.Path]:
        """Returns the folders of the versions to serve by number."""
        found = self.versions()
        chosen = self.specific or sorted(found, reverse=True)[: self.latest or None]
        return {number: found[number] for number in chosen if number in found}


def _is_version(path: pathlib.Path) -> bool:
    return path.name.isdecimal() and int(path.name) < 2**63 and path.is_dir()


def named(name_or_folder: str | pathlib.Path) -> tuple[Model, ...]:
    """Returns the models that a user means; ValueError where there are none.

    Args:
        name_or_folder: a published name, a model folder, a folder of versions, or a serving folder with a
            `models.config`, see `zoo.serving.deployment`.
    """
    folder = pathlib.Path(name_or_folder).expanduser()
    if (folder / CONFIG).is_file():
        return configured(folder / CONFIG)
    if folder.is_dir():
        folder = folder.absolute()
        if (folder / "saved_model.pb").is_file():
            name = cards.read(folder)["name"] if (folder / cards.CARD).is_file() else folder.name
            return (Model(name, folder, single=True),)
        if Model("", folder).versions():
            return (Model(folder.name, folder),)
        is_name = folder.name == str(name_or_folder)  # of a published model, perhaps
        expected = f"a folder with a saved_model.pb, with folders of versions, or with a {CONFIG}"
        checks.require(is_name, "repository", expected, name_or_folder=str(name_or_folder))
    return (Model(str(name_or_folder), cards.find(name_or_folder), single=True),)


def configured(path: str | pathlib.Path) -> tuple[Model, ...]:
    """Returns the models of a `models.config`; base paths below `/models` that do not exist are looked up beside it."""
    path = pathlib.Path(path).absolute()
    models = []
    for entry in read_text(path, messages_pb2.ModelServerConfig).model_config_list.config:
        folder = pathlib.Path(entry.base_path)
        if not folder.exists() and folder.is_relative_to(MOUNT):
            folder = path.parent / folder.relative_to(MOUNT)
        valid, received = entry.name and entry.base_path, {"name": entry.name, "base_path": entry.base_path}
        checks.require(valid and folder.is_dir(), path.name, "models with a name and a folder", **received)
        policy = entry.model_version_policy
        latest = 0 if policy.HasField("all") else policy.latest.num_versions or 1
        labels = tuple(sorted(entry.version_labels.items()))
        models.append(Model(entry.name, folder, latest=latest, specific=tuple(policy.specific.versions), labels=labels))
    checks.require(models, path.name, "at least one model", models=models)
    return tuple(models)


def read_text(path: str | pathlib.Path, kind: Any) -> Any:
    """Returns a message of a kind from its text file; ValueError where the file holds something else."""
    path = pathlib.Path(path)
    checks.require(path.is_file(), "repository", "the path of a configuration file", path=str(path))
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), kind())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        expected = f"the text of a {kind.DESCRIPTOR.name}"
        raise ValueError(f"{path.name}: expected {expected}. Received: {error} (line:column).") from error


@dataclasses.dataclass(frozen=True)
class State:
    """State of a version, as `GetModelStatus` returns it.

    Args:
        state: a name of `messages_pb2.ModelVersionStatus.State`.
        code: status code of the last attempt to load it.
        message: the error of that attempt.
        contents: files of the folder then; a failed version is tried again when they change.
    """

    state: str
    code: str = "OK"
    message: str = ""
    contents: tuple = ()


def _contents(folder: pathlib.Path) -> tuple:
    files = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return tuple((str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns) for path, stat in files)


def _collect() -> None:
    """Frees unloaded models, which are cycles of references, and hides what remains from later collections.

    TensorFlow alone has a million objects: a collection of all of them takes half a second, and the many lists of a
    large JSON body cause one.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class Repository:
    """Loads and unloads versions, and finds the one that a request means.

    Args:
        models: the models to serve, of different names.
        load: `(name, version, folder) -> servable`.
    """

    def __init__(self, models: Sequence[Model], load: Callable[..., Any] = servable.Servable):
        names = [model.name for model in models]
        is_valid = len(names) > 0 and len(set(names)) == len(names)
        checks.require(is_valid, "Repository", "`models` to be one or more of different names", names=names)
        self.models = {model.name: model for model in models}
        self._load = load
        self._states: dict[str, dict[int, State]] = {name: {} for name in names}
        # Replaced as a whole, never changed, so that readers in other threads need no lock.
        self._served: dict[str, dict[int, Any]] = {name: {} for name in names}
        self._polling = threading.Lock()
        self._polled = False
        self._seen: dict[pathlib.Path, tuple] = {}  # contents of folders without a card, at the last poll
        self._collections = -1

    def poll(self) -> bool:
        """Looks at the folders once, loads and unloads versions; returns whether anything changed."""
        changed = False
        with self._polling:
            for model in self.models.values():
                try:
                    changed |= self._poll(model)
                except OSError as error:  # the other models are polled all the same
                    fields = {"model": model.name, "error": str(error)}
                    _LOG.error("could not look at the versions", extra={"fields": fields})
            # Requests in flight hold what was just unloaded: the next poll collects once more.
            self._collections = 1 if changed else self._collections - 1
            if self._collections >= 0:
                _collect()
            self._polled = True
        return changed

    def _poll(self, model: Model) -> bool:
        wanted, changed = model.wanted(), False
        for number, folder in sorted(wanted.items()):
            if number not in self._served[model.name] and self._is_ready(model, number, folder):
                self._try(model, number, folder)
                changed = True
        served = self._served[model.name]
        left = {number: loaded for number, loaded in served.items() if number in wanted}
        if len(left) < len(served) and (left or not wanted):
            self._served[model.name] = left
            for number in served.keys() - left.keys():
                self._states[model.name][number] = State("END")
                _LOG.info("unloaded", extra={"fields": {"model": model.name, "version": number}})
            changed = True
        return changed

    def _is_ready(self, model: Model, number: int, folder: pathlib.Path) -> bool:
        """Returns whether to try a folder: it seems complete, and did not just fail as it is."""
        try:
            contents = _contents(folder)
        except OSError:
            return False  # it is changing right now; the next poll will tell
        last = self._states[model.name].get(number)
        if last is not None and last.contents == contents:
            return False
        # Without a card it may still be on its way: two polls must agree.
        if self._polled and not (folder / cards.CARD).is_file() and self._seen.get(folder) != contents:
            self._seen[folder] = contents
            return False
        self._seen.pop(folder, None)
        self._states[model.name][number] = State("LOADING", contents=contents)
        return True

    def _try(self, model: Model, number: int, folder: pathlib.Path) -> None:
        states, fields = self._states[model.name], {"model": model.name, "version": number}
        try:
            loaded = self._load(model.name, number, folder)
        except Exception as error:  # whatever is wrong with a folder, the others are served
            code = error.code if isinstance(error, status.ServingError) else "UNKNOWN"
            states[number] = dataclasses.replace(states[number], state="END", code=code, message=str(error))
            _LOG.error("could not load", extra={"fields": {**fields, "error": str(error)}})
            return
        self._served[model.name] = {**self._served[model.name], number: loaded}
        states[number] = dataclasses.replace(states[number], state="AVAILABLE")
        _LOG.info("loaded", extra={"fields": fields})

    def failures(self) -> list[str]:
        """Returns a message for each model without a version to answer with."""
        messages = []
        for name in (name for name, served in self._served.items() if not served):
            failed = [f"{number}: {state.message}" for number, state in self._states[name].items()]
            messages.append(f"{name}: {'; '.join(failed) or 'no version'}")
        return messages

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Any:
        """Returns the servable that a request means, by default the newest; ServingError where there is none."""
        version = self._labeled(name, version, label)
        served = self._served.get(name, {})
        if version is None and served:
            return served[max(served)]
        return self._entry(name, version, served)

    def states(self, name: str, version: int | None = None, label: str | None = None) -> dict[int, State]:
        """Returns the states of versions by number, oldest first; arguments and errors are those of `find`."""
        version = self._labeled(name, version, label)
        found = dict(self._states.get(name, {}))
        if version is None and found:
            return dict(sorted(found.items()))
        return {version or 0: self._entry(name, version, found)}

    def _labeled(self, name: str, version: int | None, label: str | None) -> int | None:
        if not label or name not in self.models:
            return version
        labels = dict(self.models[name].labels)
        if label not in labels:
            expected = f"a label among {', '.join(labels) or 'none'}"
            hint = checks.suggestion(label[:200], labels)
            raise status.error(f"Model {name}", expected, f"label={label[:200]!r}", hint)
        return labels[label]

    def _entry(self, name: str, version: int | None, found: dict[int, Any]) -> Any:
        """Returns what is found of a version; ServingError where there is none."""
        if version in found:
            return found[version]
        if name in self.models:
            expected = f"a version among {', '.join(map(str, sorted(found))) or 'none'}"
            raise status.error(f"Model {name}", expected, f"version={version}", code="NOT_FOUND")
        hint = checks.suggestion(name[:200], self.models)
        raise status.error("Server", "the name of a served model", f"name={name[:200]!r}", hint, "NOT_FOUND")
