import numpy as np
import preset_contract
import pytest
from keras import ops
from reference import presets


class TestInfoMin(preset_contract.OfQueue):
    name = "infomin"


def test_patches_meet_the_candidates_of_the_image():
    losses = []
    for weight in (0.0, 0.3, 1.0):
        preset_contract.seed()
        method = presets.begun("infomin", jigsaw_weight=weight)
        losses.append(ops.convert_to_numpy(method.contrast(presets.batch("infomin"), presets.step())[0]))
    assert np.abs(losses[0] - losses[2]).max() > 1e-3
    np.testing.assert_allclose(losses[1], 0.7 * losses[0] + 0.3 * losses[2], rtol=1e-4)


def test_refuses_a_weight_outside_0_and_1():
    with pytest.raises(ValueError, match=r"`jigsaw_weight` in \[0, 1\]"):
        presets.make("infomin", jigsaw_weight=2)


def test_the_head_takes_as_many_patches_as_the_view_has():
    method = presets.make("infomin")
    method.begin(presets.spec("infomin", view_shapes=(presets.SHAPE, presets.SHAPE, (9, 3, 3, 3))))
    assert method.patch_embedder.head.input_shape == (None, 9, 8)


def test_the_loss_is_of_whole_images_and_patches_against_one_key():
    """Without patches InfoMin is MoCo v2, weight by weight."""
    preset_contract.seed()
    moco = presets.begun("moco_v2")
    infomin = presets.begun("infomin", jigsaw_weight=0.0)
    for name in ("query_encoder", "key_encoder", "queue"):
        pairs = zip(getattr(infomin, name).variables, getattr(moco, name).variables, strict=True)
        for variable, value in pairs:
            variable.assign(value)
    batch = presets.batch("infomin")
    expected = moco.contrast(batch._replace(views=batch.views[:2]), presets.step())[0]
    np.testing.assert_allclose(infomin.contrast(batch, presets.step())[0], expected, rtol=1e-5)
