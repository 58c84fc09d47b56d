"""Outputs of a network for all images of a run, for methods that look at them before an epoch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from zoo import checks, features
from zoo.methods import method as methods
from zoo.models import encoder as encoding


def check(method: methods.Method, data: Any) -> None:
    """Raises ValueError, before training, if a method that extracts features cannot do so from the data's own images.

    The images are those of the data, in their size, and not views of them.

    Args:
        method: a method whose `begin` has run.
        data: a `zoo.data.sources.Source`.
    """
    if type(method).new_epoch is methods.Method.new_epoch:
        return
    who = type(method).__name__
    checks.require("image" in data.spec, who, "data with a field 'image', to extract from", fields=sorted(data.spec))
    shape = data.spec["image"][0]
    for network in method.encoders().values():
        channels = network.input_shape[-1]
        expected = f"data with images of {channels} channels, as the encoder takes them, to extract from"
        checks.require(shape[-1] == channels, who, expected, image_shape=shape)
        encoding.check_size(who, network, shape)


def extraction(data: Any, engine: Any) -> Callable:
    """Returns the function `extract` that the loop passes to `method.Method.new_epoch`.

    Every worker extracts a part of the images and receives the outputs of all.

    Args:
        data: a `zoo.data.sources.Source`.
        engine: an `engines.Engine`.
    """
    extractors: dict[int, features.Extractor] = {}
    parts = np.array_split(np.arange(data.size), engine.workers)
    own = data if engine.workers == 1 else data.subset(parts[engine.worker])

    def extract(network):
        if id(network) not in extractors:
            extractors[id(network)] = features.Extractor(network)
        rows = extractors[id(network)](own)
        if engine.workers == 1:
            return rows
        # Workers exchange arrays of one shape; the first parts may have an image more than the last.
        padded = np.pad(rows, [(0, len(parts[0]) - len(rows)), (0, 0)])
        gathered = np.split(engine.gather(padded), engine.workers)
        return np.concatenate([rows[: len(part)] for rows, part in zip(gathered, parts, strict=True)])

    return extract
