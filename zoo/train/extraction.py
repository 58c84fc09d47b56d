"""Outputs of a network for all images of a run, for methods that look at them before an epoch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from zoo import features


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
