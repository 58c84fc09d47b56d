import numpy as np
import preset_contract
import pytest
from keras import ops
from reference import presets

from zoo import replicas
from zoo.methods import memory
from zoo.methods import method as methods


class TestMoCo(preset_contract.OfQueue):
    name = "moco"


class TestMoCoV2(preset_contract.OfPreset):
    name = "moco_v2"


class TestMoCoPlainBatchNorm(preset_contract.OfPreset):
    name, arguments = "moco_v2", {"bn_groups": 1}


def test_shuffled_keys_come_back_in_the_order_of_the_images():
    """With statistics that do not matter, the groups do not either."""
    found = []
    for bn_groups in (1, 4):
        preset_contract.seed()
        method = presets.begun("moco_v2", bn_groups=bn_groups)
        for layer in method.key_encoder.network.encoder.layers:
            layer.trainable = False  # batch norm then uses its moving averages
        key, keys = method.key_encoder.encode(presets.images("moco_v2")[1], replicas.Alone())
        np.testing.assert_array_equal(key, keys)  # a single replica has the whole batch
        found.append(ops.convert_to_numpy(key))
    np.testing.assert_allclose(*found, atol=1e-5)


def test_key_groups_take_an_image_from_every_group_of_queries():
    """Thus no group of keys has the statistics of a group of queries, which would leak."""
    method = presets.begun("moco_v2", bn_groups=2)
    seen = []

    class Watching:
        """A key encoder that keeps what it is given."""

        trainable_variables = method.key_encoder.network.trainable_variables

        def __call__(self, views, training):
            seen.append(ops.convert_to_numpy(views))
            return ops.cast(views[:, 0, 0, :1], "float32")

    encoder = memory.MomentumEncoder(Watching(), Watching(), 0.9, bn_groups=2)
    views = np.arange(8, dtype="float32")[:, None, None, None] * np.ones(presets.SHAPE, "float32")
    keys = encoder.encode(ops.convert_to_tensor(views), replicas.Alone())[1]
    np.testing.assert_array_equal(seen[0][:, 0, 0, 0], [0, 4, 1, 5, 2, 6, 3, 7])
    np.testing.assert_array_equal(keys, np.arange(8)[:, None])


@pytest.mark.parametrize("name", ["moco", "cmc_v2", "infomin"])
def test_encoders_do_not_depend_on_the_groups(name):
    """Fine-tuning an encoder that was trained with groups uses ordinary batch norm, with any size of batch."""
    method = presets.begun(name)
    encoder = methods.encoder_named(method)
    batch = presets.batch(name)
    method.contrast(batch, presets.step())
    assert encoder(batch.views[0][:5], training=True).shape[0] == 5  # no multiple of the groups


def test_the_key_encoder_starts_equal_and_is_not_trained():
    method = presets.begun("moco")
    pairs = zip(method.key_encoder.average.target, method.key_encoder.average.source, strict=True)
    for slow, fast in pairs:
        assert fast.trainable and not slow.trainable
        np.testing.assert_array_equal(slow, fast)
