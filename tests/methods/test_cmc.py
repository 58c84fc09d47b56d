import numpy as np
import preset_contract
import pytest
from keras import ops
from reference import memory_numpy, presets

from zoo.methods import cmc
from zoo.methods import method as methods

CHOSEN = {"core": [(0, 1), (0, 2), (1, 0), (2, 0)], "full": [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]}


class TestCMC(preset_contract.OfBank):
    name = "cmc"


class TestCMCSharedCandidates(preset_contract.OfPreset):
    name, arguments = "cmc", {"per_image": False}


class TestCMCNCE(preset_contract.OfPreset):
    name, arguments = "cmc", {"estimator": presets.nce}


def three_towers(channels=(3, 3, 3), **arguments):
    """Returns CMC with three towers and a view for each."""
    encoders = [(name, lambda image_shape, name=name: presets.encoder(image_shape, name=name)) for name in "abc"]
    arguments = {"temperature": 0.2, "num_candidates": 9, **arguments}
    method = cmc.CMC(encoders, presets.projector, **arguments)
    method.begin(presets.spec("cmc", view_shapes=tuple((8, 8, count) for count in channels)))
    return method


@pytest.mark.parametrize("pairs", ["core", "full"])
def test_core_view_and_full_graph(pairs):
    """Three towers with a view each: the sum over ordered pairs of a tower's query against another's memory."""
    method = three_towers(pairs=pairs)
    views, ids = tuple(presets.images("cmc", seed)[0] for seed in range(3)), np.arange(8, dtype="int32")
    queries = [ops.convert_to_numpy(method.networks[i](views[i], training=True)) for i in range(3)]
    positives = [ops.convert_to_numpy(bank.rows)[ids] for bank in method.banks]
    negatives = [ops.convert_to_numpy(bank.sample(ops.convert_to_tensor(ids), 9)[0]) for bank in method.banks]
    loss, *_ = method.contrast(presets.batch("cmc", ids=ids)._replace(views=views), presets.step())
    expected = sum(memory_numpy.info_nce(queries[i], positives[j], negatives[j], 0.2) for i, j in CHOSEN[pairs])
    np.testing.assert_allclose(loss, expected, rtol=2e-4)
    assert list(method.encoders()) == ["a", "b", "c"]  # not joined: each may see something else


def test_encoders_are_the_towers_and_all_of_them_joined():
    method = presets.begun("cmc")
    images = presets.images("cmc")[0]
    networks = method.encoders()
    found = {name: ops.convert_to_numpy(network(images)) for name, network in networks.items()}
    assert list(found) == ["joined", "luma", "chroma"]
    assert methods.encoder_named(method).name == "joined"
    assert methods.encoder_named(method, "luma") is method.networks[0].encoder
    with pytest.raises(ValueError, match="one of 'joined', 'luma', 'chroma'. Received: encoder='red'"):
        methods.encoder_named(method, "red")
    np.testing.assert_allclose(found["joined"], np.concatenate([found["luma"], found["chroma"]], axis=1), atol=1e-5)
    gray = ops.repeat(images[..., :1], 3, axis=-1)
    assert np.abs(networks["luma"](gray) - found["luma"]).max() > 1e-4
    # Grays have no chroma.
    np.testing.assert_allclose(np.ptp(ops.convert_to_numpy(networks["chroma"](gray)), axis=0), 0, atol=1e-5)


def test_towers_that_take_one_image_are_joined_though_others_do_not():
    channels = (3, 3, 1)
    assert list(three_towers(channels).encoders()) == ["a", "b", "c"]
    networks = three_towers(channels, joined=("b", "a")).encoders()
    assert list(networks) == ["joined", "a", "b", "c"]
    images = presets.images("cmc")[0]
    expected = np.concatenate([networks[name](images) for name in ("b", "a")], axis=1)
    np.testing.assert_allclose(networks["joined"](images), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"of one input shape\. Received: .*None, 1\)"):
        three_towers(channels, joined=("a", "c")).encoders()


def test_towers_of_one_view_can_be_kept_apart():
    assert list(presets.begun("cmc", joined=()).encoders()) == ["luma", "chroma"]


@pytest.mark.parametrize("name", ["cmc", "cmc_v2"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoders": {"a": presets.encoder, "b": presets.encoder}}, r"two pairs \(name, factory\) or more"),
        ({"encoders": [("a", presets.encoder)]}, r"two pairs \(name, factory\) or more"),
        ({"encoders": [("a", presets.encoder)] * 2}, "of different names"),
        ({"encoders": [("a", presets.encoder), ("joined", presets.encoder)]}, "other than 'joined'"),
        ({"pairs": "fully"}, "`pairs` to be one of 'full', 'core'. Received: pairs='fully'. Did you mean 'full'?"),
        ({"joined": ("luma", "depth")}, r"of the towers luma, chroma. Received: joined=\('luma', 'depth'\)"),
        ({"joined": "luma"}, "`joined` to be .* two or more"),
        ({"joined": ("luma",)}, r"two or more of the towers.* Received: joined=\('luma',\)"),
        ({"joined": ("luma", "luma")}, "`joined` to be .* two or more"),
    ],
)
def test_refuses_towers(name, arguments, message):
    with pytest.raises(ValueError, match=message.replace("'full'?", r"'full'\?")):
        presets.make(name, **arguments)
