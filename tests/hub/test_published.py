"""Every model in `saved_models/`, as it would reach a user."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import zoo
from zoo.hub import cards

ROOT = cards.shipped("saved_models")
# `tables` beside them holds results, no models.
FOLDERS = sorted(path for path in ROOT.iterdir() if path.is_dir() and path.name != "tables") if ROOT.is_dir() else []
if not FOLDERS:
    raise FileNotFoundError(f"expected published models in {ROOT}")
TESTS = pathlib.Path(__file__).parents[1]
SERVE = """
import collections, json, sys
import numpy as np, tensorflow as tf
from tests.data import image_files
model = tf.saved_model.load(sys.argv[1])
# All signatures that decode files.
takers = {}
for name, signature in model.signatures.items():
    (spec,) = signature.structured_input_signature[1].values()
    if spec.dtype == tf.string:
        takers[name] = signature, spec.name
count = collections.Counter()
for form, data in [*image_files.family(), *image_files.mutations(int(sys.argv[2]))]:
    for name, (signature, argument) in takers.items():
        try:
            answer = signature(**{argument: tf.constant([data])})
            assert all(np.isfinite(value).all() for value in answer.values())
            count[name, "encoded"] += 1
        except tf.errors.InvalidArgumentError:
            count[name, "refused"] += 1
print(json.dumps([[*key, number] for key, number in sorted(count.items())]))
"""
published = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


@published
def test_the_name_says_method_encoder_data_and_tag(folder):
    assert re.fullmatch(r"[a-z0-9]+_[a-z0-9]+_[a-z0-9_]+\.[a-z0-9_]+", folder.name)
    assert cards.read(folder)["name"] == folder.name


@published
def test_the_card_vouches_for_every_file(folder):
    card = cards.opened(folder)
    assert card["files"] == cards.contents(folder)
    assert {"encoder.weights.h5", "saved_model.pb", "variables/variables.index"} <= set(card["files"])


@published
def test_the_card_says_how_it_was_trained_and_what_it_reached(folder):
    card = cards.read(folder)
    missing = {"method", "data", "split", "epochs", "batch_size", "seed", "config", "command", "versions"}
    assert not missing - set(card["training"])
    models = {result["model"] for result in card["results"] if result["source"] == "ours"}
    assert "trained" in models
    assert "not stated" not in card["license"].values()
    assert "/tmp/" not in card["training"]["command"]


@published
def test_keras_and_the_saved_model_agree(folder):
    tensorflow = pytest.importorskip("tensorflow")
    card = cards.read(folder)
    images = np.random.default_rng(0).random((3, *card["input"]["shape"]), dtype="float32")
    model = zoo.load(folder.name)
    features = np.asarray(model(images, training=False))
    assert features.shape == (3, card["embedding"])
    levels = {level: list(tensor.shape[1:]) for level, tensor in model.pyramid_outputs.items()}
    assert levels == card["features"]
    answer = tensorflow.saved_model.load(str(folder)).signatures["serving_default"](images=tensorflow.constant(images))
    np.testing.assert_allclose(answer["embedding"].numpy(), features, atol=1e-5, rtol=1e-5)


def test_the_shipped_models_fit_into_the_repository():
    total = sum(path.stat().st_size for folder in FOLDERS for path in folder.rglob("*") if path.is_file())
    assert total <= 60e6


@pytest.mark.slow
@published
def test_no_image_file_ends_the_process_that_serves_it(folder):
    """Files of every format, whole and mutated, in a process of its own, which TensorFlow's decoder could end."""
    command = [sys.executable, "-c", SERVE, folder, "60"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = {(name, outcome): count for name, outcome, count in json.loads(done.stdout.splitlines()[-1])}
    for name in {name for name, _ in counts}:
        assert counts[name, "encoded"] > 400 and counts[name, "refused"] > 400, counts
    assert any(name == "encode_bytes" for name, _ in counts)
