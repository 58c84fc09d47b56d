"""The served encoder answers what the Keras encoder answers, whatever way it is asked, and to each what is its own."""

import base64
import io
import itertools
import json
import threading

import numpy as np
import pytest
import requests
import tensorflow as tf
from PIL import Image
from reference import running, toy_models

import zoo
from zoo.data import decoding
from zoo.hub import cards
from zoo.serving import batching, client, repository, signatures, status

BATCHES = pytest.mark.parametrize("batch", [1, 7, 64])
WAYS = pytest.mark.parametrize("way", ["rest", "grpc"])
KINDS = ("JPEG", "PNG", "gray PNG", "alpha PNG", "gray alpha PNG", "palette PNG", "GIF", "BMP", "WEBP")
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folder(deployed):
    return deployed / "encoder" / "7"


@pytest.fixture(scope="module")
def encoder(folder):
    model = zoo.load(folder)
    return lambda images: model(np.asarray(images, np.float32), training=False).numpy()


def connected(made, way, **options):
    address = f"{'http' if way == 'rest' else 'grpc'}://127.0.0.1:{made.ports[way]}"
    return client.Client(address, "encoder", **options)


def pixels(batch, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, *toy_models.IMAGE_SHAPE), dtype=np.uint8)


def image_file(kind, height, width, seed=0):
    """A file, smooth enough for JPEG."""
    noise = np.random.default_rng(seed).integers(0, 256, (3, 3, 4), dtype=np.uint8)
    *words, kind = kind.split()
    mode = {"": "RGB", "gray": "L", "alpha": "RGBA", "gray alpha": "LA", "palette": "P"}[" ".join(words)]
    file = io.BytesIO()
    Image.fromarray(noise).resize((width, height)).convert("RGB" if mode == "P" else mode).convert(mode).save(
        file, kind
    )
    return file.getvalue()


@WAYS
@BATCHES
def test_floats(served, encoder, way, batch):
    images = pixels(batch) / 255
    expected = encoder(images)
    assert np.ptp(expected) > 0.01
    with connected(served, way) as served_encoder:
        answer = served_encoder(images.astype(np.float32))
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, expected, atol=TOLERANCE)


@BATCHES
def test_floats_as_raw_json(served, encoder, batch):
    images = pixels(batch) / 255
    body = json.dumps({"instances": images.tolist()})
    answer = requests.post(running.url(served, "/v1/models/encoder:predict"), body).json()["predictions"]
    np.testing.assert_allclose(answer, encoder(images), atol=TOLERANCE)


@WAYS
@BATCHES
def test_files_of_the_models_size(served, encoder, way, batch):
    files = [tf.io.encode_png(each).numpy() for each in pixels(batch)]
    with connected(served, way) as served_encoder:
        np.testing.assert_allclose(served_encoder(files), encoder(pixels(batch) / 255), atol=TOLERANCE)


@WAYS
@BATCHES
def test_files_of_every_kind_and_size(served, encoder, folder, way, batch):
    sizes = [(8, 8), (37, 20), (5, 3), (20, 64)]
    choices = itertools.islice(itertools.cycle(itertools.product(KINDS, sizes)), batch)
    files = [image_file(kind, *size, seed) for seed, (kind, size) in enumerate(choices)]
    record = cards.read(folder)["input"]
    images = np.stack([signatures.prepared(tf.constant([decoding.plain(data)]), record)[0] for data in files])
    with connected(served, way) as served_encoder:
        np.testing.assert_allclose(served_encoder(files), encoder(images), atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["PNG", "gray PNG", "alpha PNG", "gray alpha PNG", "palette PNG", "BMP"])
def test_lossless_files_are_their_pixels(served, encoder, kind):
    """Against Pillow's reading, not TensorFlow's."""
    data = image_file(kind, 8, 8)
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    document = {"signature_name": "encode_bytes", "instances": [{"b64": base64.b64encode(data).decode()}]}
    _, answer = running.predict(served, "encoder", document)
    # Rounding where transparency is laid over white is worth a level of a pixel.
    tolerance = 1e-2 if "alpha" in kind else TOLERANCE
    np.testing.assert_allclose(answer["predictions"], encoder(np.asarray(image)[None] / 255), atol=tolerance)


@WAYS
def test_maps(served, folder, way):
    images = (pixels(7) / 255).astype(np.float32)
    expected = tf.saved_model.load(str(folder)).signatures["features"](images=tf.constant(images))
    with connected(served, way) as served_encoder:
        answer = served_encoder.features(images)
    assert set(answer) == set(expected) > {"embedding"}
    for name, array in expected.items():
        np.testing.assert_allclose(answer[name], array, atol=TOLERANCE)


def test_clients_of_mixed_sizes_each_get_their_own_rows(served, encoder):
    everything = {seed: pixels(1 + seed % 9, seed) for seed in range(64)}
    expected = {seed: encoder(images / 255) for seed, images in everything.items()}
    failures = []

    def ask(index):
        with connected(served, ("rest", "grpc")[index % 2]) as served_encoder:
            for seed in range(index, 64, 8):
                answer = served_encoder(everything[seed])
                if answer.shape != expected[seed].shape or np.abs(answer - expected[seed]).max() > TOLERANCE:
                    failures.append(seed)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_what_sets_rows_against_rows_is_not_joined(deployed):
    """The outer product of a request's rows must not meet those of another; nor be cut where it is large."""
    answers = {}

    def ask(size):
        numbers = [float(each) for each in range(1, size + 1)]
        document = {"signature_name": "outer", "inputs": {"p": numbers, "q": numbers}}
        answers[size] = running.predict(made, "toys", document)[1].get("outputs")

    batch = batching.Batching(max_batch_size=64, num_batch_threads=1)
    with running.gated((repository.Model("toys", deployed / "toys"),), batch) as (made, gate):
        threads = [threading.Thread(target=ask, args=(size,)) for size in (1, 2, 3, 128)]
        for thread in threads:
            thread.start()
        running.until(lambda: len(gate.calls) + running.waiting(made) == 4)
        gate.open()
        for thread in threads:
            thread.join()
    for size in (1, 2, 3, 128):
        numbers = np.arange(1, size + 1)
        np.testing.assert_array_equal(answers[size], np.outer(numbers, numbers))


def test_a_bad_image_in_a_joined_call_fails_alone(deployed, encoder):
    good = [(pixels(rows, rows) / 255).astype(np.float32) for rows in (2, 3, 4)]
    bad = [np.full((1, *toy_models.IMAGE_SHAPE), value, np.float32) for value in (np.nan, 255.0)]
    inputs = [good[0], bad[0], good[1], bad[1], good[2]]
    answers = {}

    def ask(index):
        with connected(made, "grpc") as served_encoder:
            try:
                answers[index] = served_encoder(inputs[index])
            except status.ServingError as error:
                answers[index] = error

    models = (repository.Model("encoder", deployed / "encoder"),)
    with running.gated(models, batching.Batching(num_batch_threads=1), grpc_port=0) as (made, gate):
        # The first call keeps the model busy; what comes meanwhile is joined.
        threads = [threading.Thread(target=ask, args=(index,)) for index in (0, 0, 1, 2, 3, 4)]
        threads[0].start()
        running.until(lambda: gate.calls)
        for thread in threads[1:]:
            thread.start()
        running.until(lambda: running.waiting(made) == sum(map(len, inputs)))
        gate.open()
        for thread in threads:
            thread.join()
    assert sum(map(len, inputs)) in gate.calls
    for index in (0, 2, 4):
        np.testing.assert_allclose(answers[index], encoder(inputs[index]), atol=TOLERANCE)
    for index in (1, 3):
        assert answers[index].code == "INVALID_ARGUMENT"
        assert "expected images in [0, 1]" in answers[index].message
