"""Extracts the outputs of a network for all images, on one of several workers: extraction_probe.py FOLDER"""

import json
import os
import pathlib
import sys

import keras
import numpy as np

from zoo.data import sources
from zoo.models import convnet
from zoo.train import engines, extraction, strategies


def main(folder):
    worker = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    strategies.split_cpu(2)
    strategy = strategies.strategy("multi_worker")
    engine = engines.engine(strategy)
    assert (engine.workers, engine.worker) == (2, worker)
    with strategy.scope():
        keras.utils.set_random_seed(0)
        network = convnet.convnet((8, 8, 1), (4,))
    source = sources.load("digits", "train[:301]")  # the parts differ by an image
    extract = extraction.extraction(source, engine)
    found = {"rows": extract(network), "again": extract(network)}
    if worker == 0:
        engine.workers = 1
        found["whole"] = extraction.extraction(source, engine)(network)
    np.savez(pathlib.Path(folder) / f"{worker}.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
