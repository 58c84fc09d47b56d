import contract
import family_contract
import numpy as np
import pytest
from keras import ops
from reference import family, family_numpy


class TestSwAV(family_contract.WithCrops):
    name = "swav"
    arguments = {"frozen_steps": 0}

    def test_contrast_changes_only_batch_statistics_and_remember_no_weights(self):
        """Except for the prototypes, which are scaled to unit length after every update."""
        method = self.begun()
        method.prototypes.assign(2 * method.prototypes)
        before = contract.values(method.trainable_variables)
        method.remember(method.contrast(self.batch(), self.step())[2], self.step())
        (found,) = contract.changed(method.trainable_variables, before)
        assert found is method.prototypes
        np.testing.assert_allclose(np.linalg.norm(found, axis=0), 1, rtol=1e-5)


class TestSwAVWithAQueue(TestSwAV):
    name = "swav_queue"
    arguments: dict = {}


def scores_of(method, batch):
    joined = ops.convert_to_numpy(method.embedder(ops.concatenate(batch.views), training=True))
    return np.split(joined @ ops.convert_to_numpy(method.prototypes), 2), np.split(joined, 2)


def swapped(scores, codes):
    losses = [family_numpy.swapped_prediction(scores[i], codes[1 - i], 0.1) for i in range(2)]
    return np.mean(losses, axis=0)


def test_loss_is_that_of_the_paper():
    method, batch = family_contract.begun("swav"), family_contract.batch()
    scores, _ = scores_of(method, batch)
    expected = swapped(scores, [family_numpy.sinkhorn(score, 0.05, 3) for score in scores])
    np.testing.assert_allclose(method.contrast(batch, family_contract.step())[0], expected, rtol=2e-3)


def test_queued_embeddings_are_assigned_with_the_batch_once_the_queue_may_be_used():
    """Four steps an epoch: not in the first epoch; later, the pushed ones, scored by the prototypes of today."""
    method, past = family_contract.begun("swav_queue"), [[], []]
    for number in range(6):
        batch, step = family_contract.batch(number), family_contract.step(number)
        scores, embeddings = scores_of(method, batch)
        prototypes = ops.convert_to_numpy(method.prototypes)
        codes = []
        for view in range(2):
            earlier = [z @ prototypes for z in past[view][-4:]] if number >= 4 else []
            codes.append(family_numpy.sinkhorn(np.concatenate([scores[view], *earlier]), 0.05, 3)[:8])
        loss, _, seen = method.contrast(batch, step)
        np.testing.assert_allclose(loss, swapped(scores, codes), rtol=5e-3)
        method.remember(seen, step)
        for view in range(2):
            past[view].append(embeddings[view])


def test_prototypes_learn_nothing_while_they_are_frozen():
    laws, method = TestSwAV(), family_contract.begun("swav", frozen_steps=1)
    for number, learns in ((0, False), (1, True)):
        laws.step = lambda *_, number=number: family_contract.step(number)
        gradients = laws.gradients(method, family_contract.batch())
        paths = [v.path for v in method.trainable_variables]
        found = {path: np.abs(ops.convert_to_numpy(g)).max() > 0 for path, g in zip(paths, gradients, strict=True)}
        assert found.pop(next(path for path in found if path.endswith("prototypes"))) == learns
        assert all(found.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prototypes": 65}, "`prototypes` of at most the 64 images"),
        ({"prototypes": 9}, "of at most the 8 images assigned at once"),
        ({"queue_size": 12}, "multiple of the global batch of 8"),
        ({"queue_size": 64}, "`size` of at most 56"),
        ({"epsilon": 0}, "`epsilon` > 0"),
        ({"iterations": 0}, "`iterations` to be a positive integer"),
        ({"frozen_steps": -1}, "`frozen_steps` to be a non-negative integer"),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        family.METHODS["swav"](**arguments).begin(TestSwAV().spec())
