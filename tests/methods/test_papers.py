"""The seven presets and their variants by NCE, against transcriptions in NumPy: steps with memory, and from pixels."""

import numpy as np
import pytest
from keras import ops
from reference import memory_numpy, multiview_numpy, presets

# Name of the preset, whether by NCE.
METHODS = [(name, False) for name in presets.PRESETS] + [(name, True) for name in presets.WITH_NCE]
BANKS = [(name, by_nce) for name, by_nce in METHODS if presets.PRESETS[name].memory == "bank"]
QUEUES = [name for name, preset in presets.PRESETS.items() if preset.memory == "queue"]


def arrays(tensors):
    return [ops.convert_to_numpy(tensor) for tensor in tensors]


def embedded(parts, views):
    """Returns the queries of every tower, `[B, D]` each, without groups of batch norm."""
    return arrays(network(views[0], training=True) for network in parts.embedders)


def weighted(name, queries, patch_queries, loss):
    """Returns the sum over the pairs of `loss(number of the pair, query, tower of the memory)`, mixed with patches."""
    image = sum(loss(number, queries[i], j) for number, (i, j) in enumerate(presets.pairs(name)))
    if not patch_queries:
        return image
    return 0.7 * image + 0.3 * loss(0, patch_queries[0], 0)


def changes(name, by_nce=False, **more):
    """Returns arguments of a preset."""
    jigsaw = {"jigsaw_weight": 0.3} if presets.PRESETS[name].patches else {}
    return {**jigsaw, **({"estimator": presets.nce} if by_nce else {}), **more}


@pytest.mark.parametrize(("name", "by_nce"), BANKS)
def test_bank_methods_take_two_steps_as_in_the_papers(name, by_nce):
    """The loss from the rows before a step, and the rows after it."""
    method = presets.begun(name, **changes(name, by_nce))
    parts, normalizers = presets.parts(method), {}
    for step in range(2):
        ids = np.arange(8 * step, 8 * step + 8, dtype="int32")
        batch = presets.batch(name, step, ids=ids)
        banks = arrays(bank.rows for bank in parts.banks)
        drawn = arrays(bank.sample(batch.id, 9)[0] for bank in parts.banks)
        queries = embedded(parts, batch.views)
        patch_queries = arrays(network(batch.views[-1], training=True) for network in parts.patch_embedders)

        def loss(pair, query, tower, ids=ids, banks=banks, drawn=drawn):
            rows = query, banks[tower][ids], drawn[tower], 0.2
            if not by_nce:
                return memory_numpy.info_nce(*rows)
            candidates = np.concatenate([rows[1][:, None], rows[2]], axis=1)
            estimate = presets.DATA * np.exp(np.einsum("bd,bkd->bk", query, candidates) / 0.2).mean()
            normalizers[pair] = 0.99 * normalizers[pair] + 0.01 * estimate if pair in normalizers else estimate
            return memory_numpy.nce(*rows, normalizers[pair], presets.DATA)

        expected = weighted(name, queries, patch_queries, loss)
        found, logs, seen = method.contrast(batch, presets.step(step))
        np.testing.assert_allclose(found, expected, rtol=2e-4)
        method.remember(seen, presets.step(step))
        for before, bank, query in zip(banks, parts.banks, queries, strict=True):
            np.testing.assert_allclose(bank.rows, memory_numpy.bank_update(before, ids, query, 0.5), atol=1e-5)
        if by_nce:
            found = arrays(estimator.log_normalizer for estimator in parts.estimators)
            np.testing.assert_allclose(found, np.log([normalizers[pair] for pair in range(len(found))]), rtol=1e-5)
            np.testing.assert_allclose(logs["log_normalizer"], np.mean(found), rtol=1e-5)
            assert [int(estimator.estimates) for estimator in parts.estimators] == [step + 1] * len(found)


@pytest.mark.parametrize("name", QUEUES)
def test_queue_methods_take_three_steps_as_in_the_papers(name):
    """Keys of the slow encoder, the queue before they enter, and the queue after."""
    method = presets.begun(name, **changes(name, bn_groups=1))
    parts = presets.parts(method)
    averages = [encoder.average for encoder in parts.key_encoders]
    references = [memory_numpy.Queue(ops.convert_to_numpy(queue.keys)) for queue in parts.queues]
    for step in range(3):
        ids = np.arange(8 * step, 8 * step + 8, dtype="int32")
        batch = presets.batch(name, step, ids=ids)
        queries = embedded(parts, batch.views)
        patch_queries = arrays(network(batch.views[-1], training=True) for network in parts.patch_embedders)
        keys = arrays(encoder.network(batch.views[1], training=True) for encoder in parts.key_encoders)

        def loss(pair, query, tower, keys=keys):
            return memory_numpy.info_nce(query, keys[tower], references[tower].keys, method.temperature)

        expected = weighted(name, queries, patch_queries, loss)
        found, _, seen = method.contrast(batch, presets.step(step))
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)
        for variable in method.trainable_variables:  # the encoders move apart
            variable.assign(variable * 1.05)
        slow = arrays(variable for average in averages for variable in average.target)
        method.remember(seen, presets.step(step))
        fast = arrays(variable for average in averages for variable in average.source)
        now = arrays(variable for average in averages for variable in average.target)
        for before, source, after in zip(slow, fast, now, strict=True):
            np.testing.assert_allclose(after, 0.9 * before + 0.1 * source, rtol=1e-4, atol=1e-6)
        for reference, queue, key in zip(references, parts.queues, keys, strict=True):
            reference.push(key, ids)
            np.testing.assert_allclose(queue.keys, reference.keys, atol=1e-5)
            np.testing.assert_array_equal(queue.ids, reference.ids)


def converted(embedder, images):
    """Returns the images or patches that the convolutions of a network see."""
    names = [layer.name for layer in embedder.encoder.layers]
    return ops.convert_to_numpy(embedder.encoder.get_layer("convert")(images) if "convert" in names else images)


def disturb(variables):
    """Moves weights away from 0 and 1, where biases and batch norm start."""
    random = np.random.default_rng(0)
    for variable in variables:
        variable.assign(variable + 0.1 * random.normal(size=variable.shape).astype("float32"))


def remembered(parts, ids, keys):
    """Yields the memory of every tower before a batch is seen: positives, negatives, and which of these are allowed."""
    for bank in parts.banks:
        rows, allowed = arrays(bank.sample(ops.convert_to_tensor(ids), 40, False))
        yield ops.convert_to_numpy(bank.rows)[ids], rows, allowed
    for queue, key in zip(parts.queues, keys, strict=True):
        # Two of the images have been seen lately.
        queue.push(ops.convert_to_tensor(memory_numpy.unit(np.random.default_rng(3).normal(size=(2, 4)))), ids[:2])
        yield key, ops.convert_to_numpy(queue.keys), ids[:, None] != ops.convert_to_numpy(queue.ids)


def first_loss(by_nce, query, positive, negatives, allowed, temperature):
    """Returns the loss of the first step; the normalizer of NCE is then the batch's own estimate."""
    if not by_nce:
        return memory_numpy.info_nce(query, positive, negatives, temperature, allowed)
    scores = [np.append(negatives[kept] @ q, p @ q) for q, p, kept in zip(query, positive, allowed, strict=True)]
    normalizer = presets.DATA * np.exp(np.concatenate(scores) / temperature).mean()
    return memory_numpy.nce(query, positive, negatives, temperature, normalizer, presets.DATA, allowed)


@pytest.mark.parametrize(("name", "by_nce"), METHODS)
def test_loss_is_that_of_the_paper_from_the_pixels_on(name, by_nce):
    # Batch norm in four groups; rows that a batch shares, so many that some are of its own images.
    is_bank, bn_groups = presets.PRESETS[name].memory == "bank", 4
    more = {"per_image": False, "num_candidates": 40} if is_bank else {"bn_groups": bn_groups}
    method = presets.begun(name, **changes(name, by_nce, **more))
    disturb(v for v in method.variables if v.path.split("/")[-1] in ("kernel", "bias", "gamma", "beta"))
    ids = np.array([5, 9, 0, 63, 17, 30, 31, 2], "int32")
    batch, parts = presets.batch(name, ids=ids), presets.parts(method)
    views, groups = batch.views, 1 if is_bank else bn_groups
    queries, keys, patch_queries = [], [], []
    for embedder in parts.embedders:
        weights = multiview_numpy.weights_of(embedder)
        queries.append(multiview_numpy.embeddings(converted(embedder, views[0]), weights, groups))
    for encoder in parts.key_encoders:
        images, weights = converted(encoder.network, views[1]), multiview_numpy.weights_of(encoder.network)
        keys.append(multiview_numpy.shuffled_keys(images, weights, groups))
    for embedder in parts.patch_embedders:
        weights, head = (multiview_numpy.weights_of(part) for part in (parts.embedders[0], embedder.head))
        patch_queries.append(multiview_numpy.patch_embeddings(converted(embedder, views[-1]), weights, head, groups))
    candidates = list(remembered(parts, ids, keys))
    assert len(candidates) == len(presets.PRESETS[name].towers)
    assert not all(allowed.all() for *_, allowed in candidates)

    def loss(pair, query, tower):
        return first_loss(by_nce, query, *candidates[tower], method.temperature)

    expected = weighted(name, queries, patch_queries, loss)
    found, *_ = method.contrast(batch, presets.step())
    np.testing.assert_allclose(found, expected, rtol=5e-4, atol=1e-5)
