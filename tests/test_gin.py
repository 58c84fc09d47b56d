"""Every gin file parses, is used to the last binding, and trains for two steps."""

import ast
import pathlib

import gin
import numpy as np
import pytest
from PIL import Image

from zoo.tools import config
from zoo.train import loop

FOLDER = pathlib.Path(__file__).parent.parent / "gin"
FILES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*.gin"))
# What a file needs beside it to be a run, by its folder.
PARTS = {
    "data": "data/digits.gin",
    "encoders": "encoders/convnet_small.gin",
    "methods": "methods/simclr.gin",
    "optimizers": "optimizers/lars.gin",
    "views": "views/simclr_small.gin",
}
VALUES = {"IMAGE_SHAPE": "(32, 32, 3)", "SIZE": "32", "FOLDER": "'folder:/images'", "IMAGE_SIZE": "32"}


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_two_steps(file, tmp_path):
    text = (FOLDER / file).read_text()
    if file.startswith("runs/"):
        files, params = [file], []
        line = next(line for line in text.splitlines() if line.startswith("IMAGE_SHAPE"))
        size, _, channels = ast.literal_eval(line.split("=")[1].strip())
    else:
        files = [file if file.split("/")[0] == folder else part for folder, part in PARTS.items()]
        needed = "".join((FOLDER / part).read_text() for part in files)
        params = [f"{name} = {value}" for name, value in VALUES.items() if f"%{name}" in needed]
        size, channels = 32, 3
    if file == "data/folder.gin":
        for index in range(16):
            noise = np.random.default_rng(index).integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / f"{index:02d}.png")
        params = [param.replace("/images", str(tmp_path)) for param in params]
    else:
        # Sixteen digits, fitted, stand in for any other data.
        params += ["sources.load.name = 'digits'", "sources.load.split = 'train[:16]'"]
        params += [f"sources.load.size = {size}", f"sources.load.channels = {channels}"]
    params += ["loop.run.precision = 'float32'", "loop.run.epochs = 1", "loop.run.batch_size = 8"]
    params += ["schedules.WarmupCosine.warmup_epochs = 0"]
    config.parse(files, params)
    method = gin.get_configurable(loop.run)(
        workdir=tmp_path / "run", config=gin.config_str(), ready=config.refuse_unused
    )
    assert int(method.optimizer.iterations) == 2
    gin.clear_config()
