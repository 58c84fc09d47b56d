"""The models of a server: which versions are there, which are loaded, and which one a request means.

A model is a folder of numbered version folders, as TensorFlow Serving has it. New versions are loaded and warmed beside
the present ones and then take over; requests under way keep the version that they began with.
"""

import dataclasses
import gc
import logging
import pathlib
import threading

from google.protobuf import text_format

from zoo.hub import cards
from zoo.serving import messages_pb2, servable, status

CONFIG = "models.config"
# Where the container of `deployment` mounts the folder that holds the configuration.
MOUNT = "/models"
_LOG = logging.getLogger("zoo.serving")


@dataclasses.dataclass(frozen=True)
class Model:
    """What is served under a name.

    Args:
        name: of the model.
        folder: of its versions, or, with `single`, of its only one.
        single: whether `folder` is a SavedModel itself, served as version 1.
        latest: how many of the newest versions are served; 0: all.
        specific: the versions that are served, whatever else there is; () for `latest`.
        labels: names of versions, pairs (label, number).
    """

    name: str
    folder: pathlib.Path
    single: bool = False
    latest: int = 1
    specific: tuple = ()
    labels: tuple = ()

    def versions(self):
        """Folders by number, of all versions there are."""
        if self.single:
            return {1: self.folder}
        if not self.folder.is_dir():
            return {}
        found = sorted((path for path in self.folder.iterdir() if path.name.isdecimal()), reverse=True)
        return {int(path.name): path for path in found if path.is_dir() and int(path.name) < 2**63}

    def wanted(self):
        """Folders by number, of the versions that should be served."""
        there = self.versions()
        if self.specific:
            return {number: there[number] for number in self.specific if number in there}
        newest = sorted(there, reverse=True)
        return {number: there[number] for number in (newest[: self.latest] if self.latest else newest)}


def named(name_or_folder):
    """The models that a user means: a published name, a model folder, a folder of versions, or a serving folder.

    Args:
        name_or_folder: see `cards.find`; a serving folder has a `models.config`, see `zoo.serving.deployment`.

    Returns:
        tuple of `Model`.

    Raises:
        ValueError: it is none of these.
    """
    folder = pathlib.Path(name_or_folder).expanduser()
    if (folder / CONFIG).is_file():
        return configured(folder / CONFIG)
    if folder.is_dir():
        folder = folder.absolute()
        if (folder / "saved_model.pb").is_file():
            named_by_card = (folder / cards.CARD).is_file()
            return (Model(cards.read(folder)["name"] if named_by_card else folder.name, folder, single=True),)
        if Model("", folder).versions():
            return (Model(folder.name, folder),)
        if folder.name != str(name_or_folder):
            raise ValueError(
                f"--model: expected a folder with a saved_model.pb, with folders of versions, or with a {CONFIG}. "
                f"Received: {str(name_or_folder)!r}."
            )
    return (Model(str(name_or_folder), cards.find(name_or_folder), single=True),)


def configured(path):
    """The models of a `models.config`; base paths below `/models` are looked for beside the file, if not there.

    Args:
        path: text form of `ModelServerConfig`.

    Returns:
        tuple of `Model`.

    Raises:
        ValueError: names what the file has wrong.
    """
    path = pathlib.Path(path).absolute()
    config = read_text(path, messages_pb2.ModelServerConfig)
    models = []
    for entry in config.model_config_list.config:
        folder = pathlib.Path(entry.base_path)
        if not folder.exists() and folder.is_relative_to(MOUNT):
            folder = path.parent / folder.relative_to(MOUNT)
        if not (entry.name and entry.base_path and folder.is_dir()):
            raise ValueError(
                f"{path.name}: expected models with a name and the path of a folder. Received: name={entry.name!r}, "
                f"base_path={entry.base_path!r}."
            )
        policy = entry.model_version_policy
        latest = 0 if policy.HasField("all") else policy.latest.num_versions or 1
        labels = tuple(sorted(entry.version_labels.items()))
        models.append(Model(entry.name, folder, latest=latest, specific=tuple(policy.specific.versions), labels=labels))
    if not models:
        raise ValueError(f"{path.name}: expected at least one model. Received: none.")
    return tuple(models)


def read_text(path, kind):
    """A message from its text form; `ValueError` where the file has something else, or what this server does not do."""
    path = pathlib.Path(path)
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), kind())
    except FileNotFoundError:
        raise ValueError(f"expected the path of a configuration file. Received: {str(path)!r}.") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path.name}: expected the text of a {kind.DESCRIPTOR.name}. Received: {error} (line:column)."
        ) from error


@dataclasses.dataclass(frozen=True)
class State:
    """A version as `GetModelStatus` tells it.

    Args:
        state: a name of `messages_pb2.ModelVersionStatus.State`.
        code: status code of the last attempt to load it.
        message: what went wrong.
        contents: what the folder held then; a failed version is tried again when that changes.
    """

    state: str
    code: str = "OK"
    message: str = ""
    contents: tuple = ()


def _contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = [(path, path.stat()) for path in files]
    return tuple((str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def tidy():
    """Frees what TensorFlow held of models, in cycles of references, and spares what stays from being looked at again.

    The library alone is a million objects: a collection that meets them all takes half a second, and the many lists of
    a large JSON body bring one about.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class Repository:
    """Loads and unloads versions, and finds the one that a request means. `poll` is called by one thread at a time.

    Args:
        models: `Model`s of different names.
        load: `(name, version, folder) -> servable`.
    """

    def __init__(self, models, load=servable.Servable):
        names = [model.name for model in models]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"--model: expected models of different names. Received: {names}.")
        self.models = {model.name: model for model in models}
        self._load = load
        self._states = {model.name: {} for model in models}
        # Replaced as a whole, never changed, so that readers in other threads need no lock.
        self._served = {model.name: {} for model in models}
        self._polling = threading.Lock()
        self._looked = False
        self._seen = {}  # contents of folders without a card, at the last look
        self._untidy = 0

    def poll(self):
        """Looks at the folders once; returns whether anything changed."""
        changed = False
        with self._polling:
            for model in self.models.values():
                try:
                    changed |= self._poll(model)
                except OSError as error:  # the others are looked at all the same
                    fields = {"model": model.name, "error": str(error)}
                    _LOG.error("could not look at the versions", extra={"fields": fields})
            # Requests that are under way hold what was just unloaded: the next look tidies once more.
            if self._untidy:
                tidy()
                self._untidy -= 1
            self._looked = True
        return changed

    def _poll(self, model):
        states, wanted = self._states[model.name], model.wanted()
        changed = False
        for number, folder in sorted(wanted.items()):
            if number in self._served[model.name]:
                continue
            try:
                contents = _contents(folder)
            except OSError:
                continue  # it changes under our eyes; the next look will tell
            old = states.get(number)
            if old is not None and old.contents == contents:
                continue  # failed, and still as it was
            if self._looked and not (folder / cards.CARD).is_file() and self._seen.get(folder) != contents:
                self._seen[folder] = contents  # nothing vouches for it: it may still be on its way
                continue
            self._seen.pop(folder, None)
            changed = True
            self._try(model, number, folder, contents)
        served = self._served[model.name]
        gone = [number for number in served if number not in wanted]
        if gone and (not wanted or any(number in served for number in wanted)):
            changed = True
            self._served[model.name] = {number: each for number, each in served.items() if number in wanted}
            for number in gone:
                states[number] = State("END")
                _LOG.info("unloaded", extra={"fields": {"model": model.name, "version": number}})
            self._untidy = 2
        return changed

    def _try(self, model, number, folder, contents):
        states, fields = self._states[model.name], {"model": model.name, "version": number}
        states[number] = State("LOADING", contents=contents)
        try:
            loaded = self._load(model.name, number, folder)
        except Exception as error:  # whatever is wrong with a folder, the others are served
            code = error.code if isinstance(error, status.ServingError) else "UNKNOWN"
            states[number] = State("END", code, str(error), contents)
            _LOG.error("could not load", extra={"fields": {**fields, "error": str(error)}})
            return
        self._served[model.name] = {**self._served[model.name], number: loaded}
        states[number] = State("AVAILABLE", contents=contents)
        self._untidy = 2
        _LOG.info("loaded", extra={"fields": fields})

    def failures(self):
        """Messages of the models that have no version to answer with."""
        return [
            f"{name}: "
            + ("; ".join(f"{n}: {state.message}" for n, state in self._states[name].items()) or "no version")
            for name, served in self._served.items()
            if not served
        ]

    def find(self, name, version=None, label=None):
        """The servable that a request means: the newest if it names no version.

        Raises:
            ServingError: NOT_FOUND, or INVALID_ARGUMENT for an unknown label.
        """
        served = self._served.get(name, {})
        if label:
            labels = dict(self.models[name].labels) if name in self.models else {}
            if name in self.models and label not in labels:
                raise status.ServingError("INVALID_ARGUMENT", f"Unrecognized servable version label: {label}")
            version = labels.get(label)
        if version is None and served:
            return served[max(served)]
        if version in served:
            return served[version]
        meant = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        hint = "" if name in self.models else cards.nearest(name[:200], self.models)
        raise status.ServingError("NOT_FOUND", f"Servable not found for request: {meant}{hint}")

    def states(self, name, version=None, label=None):
        """`State`s by version number, oldest first; arguments and errors as those of `find`."""
        found = dict(self._states.get(name, {}))
        if label:
            version = self.find(name, label=label).version
        if version is None and found:
            return dict(sorted(found.items()))
        if version in found:
            return {version: found[version]}
        what = "any versions" if version is None else f"version {version}"
        raise status.ServingError("NOT_FOUND", f"Could not find {what} of model {name}")
