import contract
import family_contract
import numpy as np
import pytest
from keras import ops


class TestSupervised(family_contract.NeedsLabels):
    name = "supervised"

    @pytest.mark.parametrize("count", [1, 3])
    def test_takes_any_number_of_views(self, count):
        method = self.make()
        method.begin(self.spec(view_shapes=(contract.SHAPE,) * count))
        batch = self.batch()._replace(views=(self.views()[0],) * count)
        first = method.contrast(batch._replace(views=batch.views[:1]), self.step())[0]
        np.testing.assert_allclose(method.contrast(batch, self.step())[0], first, rtol=1e-5)

    def test_refuses_another_number_of_views(self):
        with pytest.raises(ValueError, match="one or more views.* Received: views=0"):
            self.make().begin(self.spec(view_shapes=()))


def test_loss_is_the_cross_entropy_of_the_views():
    method, batch = family_contract.begun("supervised"), family_contract.batch()
    kernel, bias = (ops.convert_to_numpy(v).astype("float64") for v in method.classifier.weights)
    losses = []
    for view in batch.views:
        logits = ops.convert_to_numpy(method.encoder(view, training=True)) @ kernel + bias
        right = logits[np.arange(8), ops.convert_to_numpy(batch.label)]
        losses.append(np.log(np.exp(logits).sum(axis=1)) - right)
    found, logs, _ = method.contrast(batch, family_contract.step())
    np.testing.assert_allclose(found, np.mean(losses, axis=0), rtol=1e-4)
    assert 0 <= float(logs["accuracy"]) <= 1


def test_images_without_labels_cost_nothing_and_do_not_count():
    method, batch = family_contract.begun("supervised"), family_contract.batch()
    whole = ops.convert_to_numpy(method.contrast(batch, family_contract.step())[0])
    label = ops.convert_to_numpy(batch.label).copy()
    label[4:] = -1
    found, logs, _ = method.contrast(batch._replace(label=ops.convert_to_tensor(label)), family_contract.step())
    np.testing.assert_allclose(found, [*whole[:4], 0, 0, 0, 0], rtol=1e-5)
    hits = [ops.argmax(method.classifier(method.encoder(view, training=True)), axis=1) for view in batch.views]
    expected = np.mean([ops.convert_to_numpy(hit)[:4] == label[:4] for hit in hits])
    assert float(logs["accuracy"]) == pytest.approx(expected, abs=1e-6)


def test_starts_near_the_log_of_the_classes():
    method = family_contract.begun("supervised")
    loss = ops.convert_to_numpy(method.contrast(family_contract.batch(), family_contract.step())[0])
    assert loss.mean() == pytest.approx(np.log(3), abs=0.05)
