"""Every run and every gin file that no run includes parses, is used to the last binding, and trains for two steps.

Runs that `tests/test_golden.py` trains for more steps are left to it.
"""

import contextlib
import pathlib
import re

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf
from golden import runs
from PIL import Image

from zoo.data import scenes
from zoo.models import heads
from zoo.tools import config
from zoo.train import held_out, loop, optimizers

FOLDER = pathlib.Path(__file__).parent.parent / "gin"
FILES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*.gin"))
# What a file needs beside it to be a run, by its folder; later files win.
PARTS = {
    "encoders": "encoders/convnet_small.gin",
    "methods": "methods/simclr.gin",
    "views": "views/simclr_small.gin",
    "data": "data/digits.gin",
    "optimizers": "optimizers/lars.gin",
}
ONE_VIEW = "view.Views.chains = (@view.Chain(),)"
# What a file needs other than the above, and the bindings that it needs.
OTHERS = {
    "encoders/luma_chroma_resnet50.gin": (["methods/cmc_v2.gin"], []),
    "methods/cmc_nce.gin": (["encoders/luma_chroma_small.gin"], [ONE_VIEW]),
    "methods/insdis_nce.gin": ([], [ONE_VIEW]),
    "views/patches.gin": ([], ["DISTANCE = 5", "sources.load.size = 37"]),
}
# What files leave to the run, and memories for sixteen images; each where it is read.
VALUES = {
    "%FOLDER": "FOLDER = 'folder:/images'",
    "%JIGSAW_SIZE": "JIGSAW_SIZE = 30",
    "%PATCH": "PATCH = 8",
    "%LARGE": "LARGE = 36",
    "%SMALL": "SMALL = 32",
    "@schedules.Steps": "schedules.Steps.epochs = (0.5,)",
    "@swav.SwAV": "swav.SwAV.prototypes = 4\nswav.SwAV.queue_size = 8",
    "@pcl.PCL": "pcl.PCL.clusters = (2, 4)\npcl.PCL.warmup_epochs = 0",
    **{f"@{name}": f"{name}.num_candidates = 4" for name in ("insdis.InsDis", "pirl.PIRL", "cmc.CMC")},
}
QUEUES = ("moco.MoCo", "infomin.InfoMin", "cmc_v2.CMCv2", "exemplar.Exemplar", "pcl.PCL")
LABELED = ("exemplar.Exemplar", "sup_con.SupCon", "supervised.Supervised")
SIZES = ("%JIGSAW_SIZE", "%PATCH", "%LARGE", "%SMALL")


def values(text, stated):
    """The bindings that a run needs which has sixteen images."""
    found = [
        value
        for name, value in VALUES.items()
        if re.search(rf"{name}\b", text) and (name in SIZES or name.startswith("@") or name[1:] not in stated)
    ]
    found += [f"{name}.queue_size = 8\n{name}.bn_groups = 2" for name in QUEUES if f"@{name}" in text]
    found += [f"{name}.smallest_class = 1" for name in LABELED if f"@{name}" in text]
    if "geometry.Crop.size = 224" in text:
        found.append("geometry.Crop.size = 32")
    return found if "@schedules.Steps" in text else [*found, "schedules.WarmupCosine.warmup_epochs = 0"]


def included(file):
    """The files that a gin file includes, in their order, each after those that it includes itself."""
    names = re.findall(r"^include '(.+)'", (FOLDER / file).read_text(), re.MULTILINE)
    return [one for name in names for one in (*included(name), name)]


def text_of(file):
    """A gin file's text, after that of the files that it includes."""
    return "".join((FOLDER / name).read_text() for name in (*included(file), file))


RUNS = [file for file in FILES if file.startswith("runs/")]
# What a run includes has taken its two steps with it.
TRIED = [file for file in RUNS if pathlib.Path(file).stem not in runs.TRAINED]
TRIED += sorted(set(FILES) - set(RUNS) - {name for file in RUNS for name in included(file)})


def run_of(file):
    """The files of a run that has this one as a part."""
    if file.startswith("runs/"):
        return [file]
    parts = [file, *OTHERS.get(file, ([], []))[0]]
    # The patches are added to other views, and come after them.
    chosen = {part.split("/")[0]: part for part in parts if part != "views/jigsaw.gin"}
    return [*{**PARTS, **chosen}.values(), *(part for part in parts if part == "views/jigsaw.gin")]


@pytest.fixture(scope="module")
def few_scenes(tmp_path_factory):
    """Where a handful of rendered scenes are prepared on first use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes.Scenes, "COUNTS", {"train": 16, "test": 2})
        yield tmp_path_factory.mktemp("tfds")


def test_the_rate_of_the_whole_predictor_and_of_nothing_else_is_constant():
    config.parse(["optimizers/sgd_simsiam.gin"], ["PREDICTOR_RATE = 0.25"])
    head, others = heads.predictor(8, width=4, use_bias=True), heads.projector(8, widths=(4, 4, 8))
    trained = [*head.trainable_variables, *others.trainable_variables]
    optimizer = optimizers.build(gin.get_configurable(optimizers.by_path)(), 0.5, "float32", trained)
    before = [np.array(variable) for variable in trained]
    optimizer.apply([keras.ops.ones(variable.shape) for variable in trained], trained)
    for variable, start in zip(trained, before, strict=True):
        rate = 0.25 if any(variable is of_head for of_head in head.trainable_variables) else 0.5
        np.testing.assert_allclose(variable, start - rate * (1 + 1e-4 * start), rtol=1e-5, err_msg=variable.path)
    gin.clear_config()


class Two(keras.callbacks.Callback):
    """Ends a run after two steps, before it evaluates and saves."""

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == 2:
            raise Enough


class Enough(Exception):
    """The run has taken its steps."""


@pytest.fixture
def operation_by_operation():
    """To trace, differentiate and optimize graphs takes most of the time; the runs of the golden files are compiled."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
@pytest.mark.usefixtures("operation_by_operation")
@pytest.mark.filterwarnings("ignore:Even though the")  # the option does not apply to the stream of the images
@pytest.mark.parametrize("file", TRIED)
def test_two_steps(file, tmp_path, few_scenes):
    files = run_of(file)
    text = "".join(text_of(part) for part in files)
    stated = [line.partition(" ")[0] for line in text.splitlines() if " = " in line and "gin.REQUIRED" not in line]
    params = [*OTHERS.get(file, ([], []))[1], *values(text, stated)]
    gray = {"data/digits.gin", "data/fashion_mnist.gin"} & set(included(file))
    if file == "data/folder.gin":
        for index in range(16):
            noise = np.random.default_rng(index).integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / f"{index:02d}.png")
        params = [param.replace("/images", str(tmp_path)) for param in params]
    if file.endswith("_scenes.gin"):
        params += ["sources.load.split = 'train[:16]'", f"sources.load.data_dir = '{few_scenes}'"]
    elif file != "data/folder.gin":
        # Sixteen digits, fitted, stand in for any other data.
        params = ["sources.load.name = 'digits'", "sources.load.split = 'train[:16]'", *params]
        params = ["sources.load.size = 32", f"sources.load.channels = {1 if gray else 3}", *params]
    params += ["loop.run.precision = 'float32'", "loop.run.epochs = 1", "loop.run.batch_size = 8"]
    large = "resnet.resnet50" in text
    params += ["resnet.resnet50.width = 0.0625"] if large else []
    rhythm = loop.Rhythm(steps_per_call=1)
    with runs.shallow() if large else contextlib.nullcontext(), pytest.raises(Enough):
        config.parse(files, params)
        gin.get_configurable(loop.run)(
            workdir=tmp_path / "run",
            config=gin.config_str(),
            ready=lambda record: config.refuse_unused(),
            rhythm=rhythm,
            callbacks=[Two()],
        )
    gin.clear_config()


@pytest.mark.parametrize("file", [file for file in RUNS if "@held_out.HeldOut()" in text_of(file)])
def test_what_is_held_out_is_not_trained_on(file):
    with runs.synthetic_data():
        config.parse([file], [])
        data, (evaluator, *_) = config.binding("data"), config.binding("evaluators")
    gin.clear_config()
    assert isinstance(evaluator, held_out.HeldOut) and evaluator.data.size == 2048
    assert not set(data.ids) & set(evaluator.data.ids)


def test_every_run_that_can_shows_a_held_out_loss():
    """Those whose method has no memory of every image, and whose data leave a part of the training split."""
    able = {file for file in RUNS if "sources.load.split = 'train[:10000]'" in text_of(file)}
    able -= {file for file in able if re.search("@(insdis.InsDis|pirl.PIRL|cmc.CMC|pcl.PCL)", text_of(file))}
    assert able == {file for file in RUNS if "@held_out.HeldOut()" in text_of(file)} and len(able) == 14
