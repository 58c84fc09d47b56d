"""A step of every method that the six switches allow, against a transcription in NumPy from the pixels on."""

import numpy as np
import pytest
from keras import ops
from reference import memory_numpy, multiview_numpy, presets

from zoo import replicas
from zoo.methods import comparisons

# Batch norm in groups of two or of four; rows that a batch shares, so many that some are of its own images.
DICTIONARIES = {
    ("queue", "softmax"): lambda *towers: presets.queue(*towers, splits=4),
    ("queue", "nce"): lambda *towers: presets.queue(*towers, splits=2),
    ("bank", "softmax"): lambda *towers: presets.bank(*towers, per_image=False, negatives=40),
    ("bank", "nce"): lambda *towers: presets.bank(*towers, per_image=False, negatives=40),
}


def converted(tower, images):
    """What the network of a tower sees of images or patches."""
    names = [layer.name for layer in tower.encoder.layers]
    return ops.convert_to_numpy(tower.encoder.get_layer("convert")(images) if "convert" in names else images)


def different(variables):
    """Weights at which nothing is 0 or 1, biases and batch norm included."""
    random = np.random.default_rng(0)
    for variable in variables:
        variable.assign(variable + 0.1 * random.normal(size=variable.shape).astype("float32"))


def remembered(dictionary, ids, towers):
    """What the memory holds for a batch before it is seen: positives, negatives, and which of these are allowed."""
    if hasattr(dictionary, "banks"):
        for bank in dictionary.banks:
            rows, allowed = (ops.convert_to_numpy(x) for x in bank.sample(ops.convert_to_tensor(ids), 40, False))
            yield ops.convert_to_numpy(bank.rows)[ids], rows, allowed
        return
    for queue, key in zip(dictionary.queues, towers, strict=True):
        # Two of the images have been seen lately.
        queue.push(ops.convert_to_tensor(memory_numpy.unit(np.random.default_rng(3).normal(size=(2, 4)))), ids[:2])
        yield key, ops.convert_to_numpy(queue.keys), ids[:, None] != ops.convert_to_numpy(queue.ids)


def loss_of(comparison, query, positive, negatives, allowed, population):
    """Of the first step; the normaliser of NCE is then the batch's own estimate."""
    if comparison == "softmax":
        return memory_numpy.info_nce(query, positive, negatives, 0.2, allowed)
    scores = [np.append(negatives[kept] @ q, p @ q) for q, p, kept in zip(query, positive, allowed, strict=True)]
    normalizer = population * np.exp(np.concatenate(scores) / 0.2).mean()
    return memory_numpy.nce(query, positive, negatives, 0.2, normalizer, population, allowed)


@pytest.mark.parametrize("comparison", ["softmax", "nce"])
@pytest.mark.parametrize("name", presets.PRESETS)
def test_loss_is_the_papers_from_the_pixels_on(name, comparison):
    of, puzzle, memory = presets.PRESETS[name]
    compare = {"softmax": comparisons.Softmax, "nce": comparisons.NCE}[comparison]
    method = presets.make(name, compare, dictionary=DICTIONARIES[memory, comparison], jigsaw_weight=0.3)
    method.begin()
    different(v for v in method.variables if v.path.split("/")[-1] in ("kernel", "bias", "gamma", "beta"))
    views, ids = presets.batch(name), np.array([5, 9, 0, 63, 17, 30, 31, 2], "int32")
    dictionary, splits = method.dictionary, method.dictionary.splits
    queries, keys, pieces = [], [], []
    for i, tower in enumerate(method.towers):
        weights = multiview_numpy.weights_of(tower)
        queries.append(multiview_numpy.embeddings(converted(tower, views[0]), weights, splits))
        if memory == "queue":
            slow = dictionary.key_towers[i]
            keys.append(
                multiview_numpy.shuffled_keys(converted(slow, views[1]), multiview_numpy.weights_of(slow), splits)
            )
        if puzzle:
            head = multiview_numpy.weights_of(method.jigsaw_heads[i])
            pieces.append(multiview_numpy.patch_embeddings(converted(tower, views[-1]), weights, head, splits))
    candidates = list(remembered(dictionary, ids, keys))
    assert not all(allowed.all() for *_, allowed in candidates)
    expected = 0
    for i, j in [(0, 0)] if of == "image" else [(0, 1), (1, 0)]:
        rows = *candidates[j], dictionary.population
        whole = loss_of(comparison, queries[i], *rows)
        expected = expected + (0.7 * whole + 0.3 * loss_of(comparison, pieces[i], *rows) if puzzle else whole)
    loss, *_ = method.contrast(views, {"id": ops.convert_to_tensor(ids)}, replicas.Alone())
    np.testing.assert_allclose(loss, expected, rtol=5e-4)
