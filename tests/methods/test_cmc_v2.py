import numpy as np
import preset_contract
import pytest
from keras import ops
from reference import memory_numpy, presets
from test_cmc import CHOSEN

from zoo.methods import cmc_v2


class TestCMCv2(preset_contract.OfQueue):
    name = "cmc_v2"


@pytest.mark.parametrize("pairs", ["core", "full"])
def test_core_view_and_full_graph(pairs):
    """Three towers with two views each: a tower's query against another's key and queue, summed over ordered pairs."""
    encoders = [(name, lambda image_shape, name=name: presets.encoder(image_shape, name=name)) for name in "abc"]
    method = cmc_v2.CMCv2(encoders, presets.projector, 0.2, pairs, queue_size=32, bn_groups=1)
    method.begin(presets.spec("cmc_v2", view_shapes=(presets.SHAPE,) * 6))
    views = tuple(presets.images("cmc_v2", seed)[0] for seed in range(6))
    queries, keys = (
        [ops.convert_to_numpy(network(view, training=True)) for network, view in zip(networks, part, strict=True)]
        for networks, part in (
            (method.networks, views[:3]),
            ([encoder.network for encoder in method.key_encoders], views[3:]),
        )
    )
    queues = [ops.convert_to_numpy(queue.keys) for queue in method.queues]
    loss, *_ = method.contrast(presets.batch("cmc_v2")._replace(views=views), presets.step())
    expected = sum(memory_numpy.info_nce(queries[i], keys[j], queues[j], 0.2) for i, j in CHOSEN[pairs])
    np.testing.assert_allclose(loss, expected, rtol=2e-4)
    assert list(method.encoders()) == ["a", "b", "c"]  # not joined: each may see something else


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((8, 8, 3),) * 3, "as many views of keys as of queries. Received: views=3"),
        (((8, 8, 3), (8, 8, 1)), "expected images of 3 channels.* Received: channels=1"),
    ],
)
def test_refuses_views(shapes, message):
    with pytest.raises(ValueError, match=message):
        presets.make("cmc_v2").begin(presets.spec("cmc_v2", view_shapes=shapes))
