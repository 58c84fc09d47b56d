"""The start of a run from given weights: a published encoder's, or those of another run."""

import os
import pathlib
from typing import Any

from keras import ops

from zoo import checks
from zoo.hub import pretrained
from zoo.methods import memory
from zoo.methods import method as methods
from zoo.train import checkpoint


def initialize(method: methods.Method, source: str | os.PathLike) -> int:
    """Sets the initial weights of a method.

    From a published encoder, its default encoder takes all variables. From another run, every network takes the
    variables of the same path and shape; queues and banks, which belong to the run's data, stay as they are. Momentum
    encoders then start as copies of what they follow.

    Args:
        method: a method whose `begin` has run.
        source: name of a published model, path of a model folder, or workdir of another run.

    Returns:
        Number of variables that were set.

    Raises:
        ValueError: there are no such weights, or they are not those of the method's encoder.
    """
    folder = pathlib.Path(source).expanduser()
    count = _from_run(method, folder) if (folder / "checkpoints").is_dir() else _from_model(method, source)
    for layer in (method, *method._flatten_layers()):
        for average in vars(layer).values():
            if isinstance(average, memory.Average):
                average.update(0.0)
    return count


def _from_model(method, source):
    encoder = next(iter(method.encoders().values()))
    published = pretrained.load(source, pooling=None if len(encoder.output_shape) == 4 else "avg")
    shapes = [[tuple(v.shape) for v in network.variables] for network in (encoder, published)]
    checks.require(
        shapes[0] == shapes[1],
        "initialize",
        f"weights of the architecture of the run's encoder, {len(shapes[0])} variables of equal shapes",
        source=str(source),
        variables=len(shapes[1]),
        first_difference=next((pair for pair in zip(*shapes, strict=False) if pair[0] != pair[1]), None),
    )
    for variable, value in zip(encoder.variables, published.variables, strict=True):
        variable.assign(ops.convert_to_numpy(value))
    return len(encoder.variables)


def _from_run(method, folder):
    _, arrays = checkpoint.Checkpoints(folder / "checkpoints").latest()
    stored: dict[Any, list] = {}
    for path, value in arrays.items():
        stored.setdefault((checkpoint.unnumbered(path), value.shape), []).append(value)
    state = {
        id(variable)
        for layer in method._flatten_layers()
        if isinstance(layer, (memory.MomentumQueue, memory.MemoryBank))
        for variable in layer.variables
    }
    found = set()
    for variable in method.variables:
        values = stored.get((checkpoint.unnumbered(variable.path), tuple(variable.shape)))
        if values and id(variable) not in state:
            variable.assign(values.pop(0))
            found.add(id(variable))
    encoder = next(iter(method.encoders().values()))
    missing = [variable.path for variable in encoder.variables if id(variable) not in found]
    expected = f"a run that trained the same encoder, {len(encoder.variables)} variables"
    checks.require(not missing, "initialize", expected, source=str(folder), missing=missing[:3])
    return len(found)
