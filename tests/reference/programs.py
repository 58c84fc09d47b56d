"""Programs in the process of a test, on a stand-in for `zoo.tools.config`, which has tests of its own."""

import functools
import importlib.util
import pathlib
import sys
import types

from absl import flags

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
DEFINES = ("DEFINE_string", "DEFINE_multi_string", "DEFINE_bool", "DEFINE_integer", "DEFINE_float", "DEFINE_list")
RUN = {"method": "simclr", "data": "digits", "split": "train", "epochs": 2.0, "seed": 0, "config": "a.b = 1\n"}


class Trained:
    """Stands for a method whose run is over."""

    def __init__(self, encoder):
        self.encoder = encoder

    def encoders(self):
        return {"image": self.encoder}


def export(encoder, monkeypatch):
    """A function that runs `zoo-export` with flags."""
    config = types.ModuleType("zoo.tools.config")
    config.restore = lambda workdir, trust: (Trained(encoder), {**RUN, "workdir": workdir.name})
    return program("export", config, monkeypatch)


def serve(monkeypatch):
    """A function that runs `zoo-serve` with flags."""
    return program("serve", types.ModuleType("zoo.tools.config"), monkeypatch)


def program(name, config, monkeypatch):
    """A function that runs a program of `tools` with flags, and with a stand-in for `zoo.tools.config`."""
    package = types.ModuleType("zoo.tools")
    package.config = config
    monkeypatch.setitem(sys.modules, "zoo.tools", package)
    monkeypatch.setitem(sys.modules, "zoo.tools.config", config)
    spec = importlib.util.spec_from_file_location(f"{name}_tool", TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments):
        # Flags of its own: absl's are one per process, and other programs define the same names.
        module.FLAGS = flags.FlagValues()
        defined = {each: functools.partial(getattr(flags, each), flag_values=module.FLAGS) for each in DEFINES}
        monkeypatch.setattr(module, "flags", types.SimpleNamespace(**defined))
        module.define_flags()
        module.FLAGS([name, *arguments])
        return module.main([name])

    return run
