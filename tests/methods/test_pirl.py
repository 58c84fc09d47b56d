import numpy as np
import preset_contract
import pytest
from keras import ops
from reference import presets


class TestPIRL(preset_contract.OfBank):
    name = "pirl"


def test_patches_meet_the_candidates_of_the_image():
    losses = []
    for weight in (0.0, 0.3, 1.0):
        preset_contract.seed()
        method = presets.begun("pirl", jigsaw_weight=weight)
        losses.append(ops.convert_to_numpy(method.contrast(presets.batch("pirl"), presets.step())[0]))
    assert np.abs(losses[0] - losses[2]).max() > 1e-3
    np.testing.assert_allclose(losses[1], 0.7 * losses[0] + 0.3 * losses[2], rtol=1e-4)


def test_refuses_a_weight_outside_0_and_1():
    with pytest.raises(ValueError, match=r"`jigsaw_weight` in \[0, 1\]"):
        presets.make("pirl", jigsaw_weight=2)


def test_the_head_takes_as_many_patches_as_the_view_has():
    method = presets.make("pirl")
    method.begin(presets.spec("pirl", view_shapes=(presets.SHAPE, (9, 3, 3, 3))))
    assert method.patch_embedder.head.input_shape == (None, 9, 8)
