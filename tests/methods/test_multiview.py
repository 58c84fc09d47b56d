import contract
import numpy as np
import pytest
from keras import ops
from reference import memory_numpy, presets

from zoo import replicas
from zoo.methods import comparisons, dictionaries, multiview

SHAPE = presets.SHAPE


class OfPresets(contract.Contract):
    """The contract, for one of the presets."""

    name = ""
    data = presets.DATA

    def make(self):
        return presets.make(self.name)

    def images(self, seed=0, batch=8):
        return presets.batch(self.name, seed, batch)

    def examples(self, first=0, batch=8):
        return super().examples(first, batch)

    def test_loss_is_one_finite_number_per_image(self):
        loss, logs, _ = self.make().contrast(self.images(), self.examples(), replicas.Alone())
        assert tuple(loss.shape) == (8,) and np.isfinite(ops.convert_to_numpy(loss)).all()
        assert logs and all(np.shape(value) == () for value in logs.values())

    def test_refuses_views_of_another_shape(self):
        method, shapes = self.make(), self.shapes()
        method.check(shapes, np.arange(self.data), 8)
        with pytest.raises(ValueError, match="image_shape.*16, 8, 3"):
            method.check([(16, 8, 3), *shapes[1:]], np.arange(self.data), 8)

    def test_refuses_another_number_of_views(self):
        with pytest.raises(ValueError, match="in this order; bind `view.Views.chains`"):
            self.make().check([SHAPE] * 7, np.arange(self.data), 8)


for _name in presets.PRESETS:
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (OfPresets,), {"name": _name})


def embeddings(method, views):
    """Queries, keys and patches of a method without batch statistics at stake, as NumPy arrays."""
    found = [ops.convert_to_numpy(method.towers[i](views[0], training=True)) for i in range(len(method.towers))]
    return found


@pytest.mark.parametrize("comparison", ["softmax", "nce"])
@pytest.mark.parametrize("name", ["insdis", "cmc"])
def test_bank_methods_are_the_papers(name, comparison):
    """Two steps: the loss from the rows before, and the rows after."""
    method = presets.make(name, comparisons.NCE if comparison == "nce" else comparisons.Softmax)
    method.begin()
    towers = len(method.towers)
    for step in range(2):
        views, ids = presets.batch(name, step), np.arange(8 * step, 8 * step + 8, dtype="int32")
        banks = [ops.convert_to_numpy(bank.rows) for bank in method.dictionary.banks]
        drawn = [ops.convert_to_numpy(bank.sample(ids, 9)[0]) for bank in method.dictionary.banks]
        queries = embeddings(method, views)
        examples = {"id": ops.convert_to_tensor(ids)}
        loss, _, seen = method.contrast(views, examples, replicas.Alone())
        expected = 0
        for i, j in [(0, 0)] if towers == 1 else [(0, 1), (1, 0)]:
            if comparison == "softmax":
                expected = expected + memory_numpy.info_nce(queries[i], banks[j][ids], drawn[j], 0.2)
                continue
            candidates = np.concatenate([banks[j][ids][:, None], drawn[j]], axis=1)
            estimate = presets.DATA * np.exp(np.einsum("bd,bkd->bk", queries[i], candidates) / 0.2).mean()
            if step == 0:
                method.normalizers = {**getattr(method, "normalizers", {}), (i, j): estimate}
            normalizer = 0.99 * method.normalizers[i, j] + 0.01 * estimate
            expected = expected + memory_numpy.nce(queries[i], banks[j][ids], drawn[j], 0.2, normalizer, presets.DATA)
        np.testing.assert_allclose(loss, expected, rtol=2e-4)
        method.remember(seen, replicas.Alone())
        for before, bank, query in zip(banks, method.dictionary.banks, queries, strict=True):
            np.testing.assert_allclose(bank.rows, memory_numpy.bank_update(before, ids, query, 0.5), atol=1e-5)


@pytest.mark.parametrize("name", ["moco", "cmc_v2"])
def test_queue_methods_are_the_papers(name):
    """Three steps: keys of the slow encoder, the queue before they enter, and the queue after."""
    method = presets.make(name, dictionary=lambda *towers: presets.queue(*towers, splits=1))
    method.begin()
    towers = len(method.towers)
    references = [memory_numpy.Queue(ops.convert_to_numpy(q.keys)) for q in method.dictionary.queues]
    for step in range(3):
        views, ids = presets.batch(name, step), np.arange(8 * step, 8 * step + 8, dtype="int32")
        queries = embeddings(method, views)
        keys = [ops.convert_to_numpy(tower(views[1], training=True)) for tower in method.dictionary.key_towers]
        loss, _, seen = method.contrast(views, {"id": ops.convert_to_tensor(ids)}, replicas.Alone())
        pairs = [(0, 0)] if towers == 1 else [(0, 1), (1, 0)]
        expected = sum(memory_numpy.info_nce(queries[i], keys[j], references[j].keys, 0.2) for i, j in pairs)
        np.testing.assert_allclose(loss, expected, rtol=2e-4)
        for variable in method.trainable_variables:  # the encoders move apart
            variable.assign(variable * 1.05)
        slow = [ops.convert_to_numpy(v) for average in method.dictionary.averages for v in average.target]
        method.remember(seen, replicas.Alone())
        fast = [ops.convert_to_numpy(v) for average in method.dictionary.averages for v in average.source]
        now = [ops.convert_to_numpy(v) for average in method.dictionary.averages for v in average.target]
        for before, mine, after in zip(slow, fast, now, strict=True):
            np.testing.assert_allclose(after, 0.9 * before + 0.1 * mine, rtol=1e-4, atol=1e-6)
        for reference, queue, key in zip(references, method.dictionary.queues, keys, strict=True):
            reference.push(key, ids)
            np.testing.assert_allclose(queue.keys, reference.keys, atol=1e-5)
            np.testing.assert_array_equal(queue.ids, reference.ids)


def test_patches_meet_the_candidates_of_the_image():
    weights = []
    for weight in (0.0, 0.3, 1.0):
        keras_seeded()
        method = presets.make("infomin", jigsaw_weight=weight)
        method.begin()
        loss = method.contrast(presets.batch("infomin"), {"id": ops.arange(8)}, replicas.Alone())[0]
        weights.append(ops.convert_to_numpy(loss))
    assert np.abs(weights[0] - weights[2]).max() > 1e-3
    np.testing.assert_allclose(weights[1], 0.7 * weights[0] + 0.3 * weights[2], rtol=1e-4)


def keras_seeded():
    """The same weights and memory in every method that is made next."""
    import random

    random.seed(1)


@pytest.mark.parametrize("memory", ["bank", "queue"])
@pytest.mark.parametrize("pairs", ["core", "full"])
def test_core_view_and_full_graph(pairs, memory):
    """Three towers with a view each: the sum over ordered pairs of the query of one against the memory of another."""
    encoders = [(name, lambda name=name: presets.encoder(name=name)) for name in ("a", "b", "c")]
    make = presets.bank if memory == "bank" else lambda *towers: presets.queue(*towers, splits=1)
    method = multiview.Multiview(encoders, presets.projector, make, temperature=0.2, shared=False, pairs=pairs)
    method.begin()
    views = tuple(presets.batch("cmc", seed)[0] for seed in range(3 if memory == "bank" else 6))
    ids = np.arange(8, dtype="int32")
    method.check([SHAPE] * len(views), np.arange(presets.DATA), 8)
    queries = [ops.convert_to_numpy(method.towers[i](views[i], training=True)) for i in range(3)]
    if memory == "bank":
        positives = [ops.convert_to_numpy(bank.rows)[ids] for bank in method.dictionary.banks]
        negatives = [ops.convert_to_numpy(bank.sample(ids, 9)[0]) for bank in method.dictionary.banks]
    else:
        slow = method.dictionary.key_towers
        positives = [ops.convert_to_numpy(slow[i](views[3 + i], training=True)) for i in range(3)]
        negatives = [ops.convert_to_numpy(queue.keys) for queue in method.dictionary.queues]
    loss, *_ = method.contrast(views, {"id": ops.convert_to_tensor(ids)}, replicas.Alone())
    chosen = [(0, 1), (0, 2), (1, 0), (2, 0)] + ([(1, 2), (2, 1)] if pairs == "full" else [])
    expected = sum(memory_numpy.info_nce(queries[i], positives[j], negatives[j], 0.2) for i, j in chosen)
    np.testing.assert_allclose(loss, expected, rtol=2e-4)
    assert list(method.feature_extractors()) == ["a", "b", "c"]  # not joined: each may see something else


def test_shuffled_keys_come_back_in_the_order_of_the_images():
    """With statistics that do not matter, the groups do not either."""
    found = []
    for splits in (1, 4):
        keras_seeded()
        method = presets.make("moco", dictionary=lambda *towers, splits=splits: presets.queue(*towers, splits=splits))
        method.begin()
        for tower in method.dictionary.key_towers:
            for layer in tower.encoder.layers:
                layer.trainable = False  # batch norm then uses its moving averages
        found.append(
            method.dictionary.recall((presets.batch("moco")[1],), ops.arange(8), replicas.Alone())[0][0].positive
        )
    np.testing.assert_allclose(*found, atol=1e-5)


def test_key_groups_take_an_image_from_every_group_of_queries():
    """The cure for leaking: a group of keys has the statistics of no group of queries."""
    method = presets.make("moco", dictionary=lambda *towers: presets.queue(*towers, splits=2))
    method.begin()
    seen = []

    def watch(views, training):
        seen.append(ops.convert_to_numpy(views))
        return ops.ones((8, 4))

    views = np.arange(8, dtype="float32")[:, None, None, None] * np.ones(SHAPE, "float32")
    method.dictionary._encoded(watch, ops.convert_to_tensor(views), replicas.Alone())
    np.testing.assert_array_equal(seen[0][:, 0, 0, 0], [0, 4, 1, 5, 2, 6, 3, 7])


@pytest.mark.parametrize("name", ["moco", "cmc_v2", "infomin"])
def test_extractors_know_nothing_of_groups(name):
    """Whoever fine-tunes the encoder of a method with split batch norm gets the usual one, of any batch."""
    method = presets.make(name)
    encoder = method.feature_extractor()
    images = presets.batch(name)[0]
    method.contrast(presets.batch(name), {"id": ops.arange(8)}, replicas.Alone())
    assert encoder(images[:5], training=True).shape[0] == 5  # no multiple of the groups


def test_extractors_are_the_towers_and_all_of_them_side_by_side():
    method = presets.make("cmc")
    images = presets.batch("cmc")[0]
    found = {name: ops.convert_to_numpy(net(images)) for name, net in method.feature_extractors().items()}
    assert list(found) == ["joined", "luma", "chroma"]
    assert method.feature_extractor().name == "joined" and method.feature_extractor("luma") is method.towers[0].encoder
    with pytest.raises(ValueError, match="one of joined, luma, chroma. Received: view='red'"):
        method.feature_extractor("red")
    np.testing.assert_allclose(found["joined"], np.concatenate([found["luma"], found["chroma"]], axis=1), atol=1e-5)
    grey = ops.repeat(images[..., :1], 3, axis=-1)
    assert np.abs(method.feature_extractors()["luma"](grey) - found["luma"]).max() > 1e-4
    np.testing.assert_allclose(  # greys have no chroma
        np.ptp(ops.convert_to_numpy(method.feature_extractors()["chroma"](grey)), axis=0), 0, atol=1e-5
    )


def of_two_shapes(**arguments):
    """Towers of which two take the same image, and one another."""
    shapes = {"luma": SHAPE, "chroma": SHAPE, "depth": (8, 8, 1)}
    encoders = [(name, lambda name=name: presets.encoder(shapes[name], name=name)) for name in shapes]
    return multiview.Multiview(encoders, presets.projector, presets.queue, shared=False, **arguments)


def test_towers_that_take_one_image_stand_side_by_side_though_others_do_not():
    assert list(of_two_shapes().feature_extractors()) == ["luma", "chroma", "depth"]
    networks = of_two_shapes(joined=("chroma", "luma")).feature_extractors()
    assert list(networks) == ["joined", "luma", "chroma", "depth"]
    images = presets.batch("moco")[0]
    expected = np.concatenate([networks[name](images) for name in ("chroma", "luma")], axis=1)
    np.testing.assert_allclose(networks["joined"](images), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"of one shape; bind .*'depth': \(8, 8, 1\)"):
        of_two_shapes(joined=("luma", "depth"))
    with pytest.raises(ValueError, match=r"two or more of the towers.* Received: joined=\('depth',\)"):
        of_two_shapes(joined=("depth",))


def test_towers_of_one_view_can_be_kept_apart():
    assert list(presets.make("cmc", joined=()).feature_extractors()) == ["luma", "chroma"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0}, "`temperature` > 0"),
        ({"encoder": {"a": presets.encoder}}, r"pairs \(name, factory\)"),
        ({"encoder": [("a", presets.encoder)] * 2}, "of different names"),
        ({"pairs": "fully"}, "`pairs` to be one of"),
        ({"jigsaw_weight": 2}, r"`jigsaw_weight` in \[0, 1\]"),
        ({"dictionary": lambda *towers: presets.queue(*towers, splits=0)}, "`splits` to be a positive integer"),
        ({"dictionary": lambda *towers: dictionaries.Instances(*towers, size=5, negatives=5)}, "1 to the 4 other"),
        ({"dictionary": lambda *towers: presets.bank(*towers, per_image="no")}, "`per_image` to be True or False"),
        ({"joined": ("image", "depth")}, r"of the towers image, or \(\) for none. Received: joined=\('image', '"),
        ({"joined": "image"}, "`joined` to be two or more"),
        ({"joined": ("image", "image")}, "`joined` to be two or more"),
        ({"comparison": lambda population, name: comparisons.NCE(0)}, "`population` to be a positive integer"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        presets.make("moco", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 6}, "`splits` to divide the global batch of 6"),
        ({"batch_size": 12}, "multiple of the global batch of 12"),
        ({"ids": np.arange(36)}, "at most 24"),
        ({"batch_size": 4}, "groups of two or more"),
        ({"replica_count": 8}, "1 or a multiple of the 8 replicas; bind `dictionaries.Momentum.splits`"),
    ],
)
def test_refuses_data_that_do_not_fit(arguments, message):
    method = presets.make("moco")
    with pytest.raises(ValueError, match=message):
        method.check([SHAPE, SHAPE], **{"ids": np.arange(presets.DATA), "batch_size": 8, **arguments})
