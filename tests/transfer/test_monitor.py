import keras
import numpy as np
import pytest

from zoo import features, seeds
from zoo.data import sources
from zoo.methods import evaluation
from zoo.models import mlp
from zoo.objectives import ranks
from zoo.transfer import knn, monitor
from zoo.views import geometry, view


@pytest.fixture(scope="module")
def data():
    train, test = (sources.load("digits", split) for split in ("train", "test"))
    return train.subset(np.arange(300)), test.subset(np.arange(120))


class Method:
    def __init__(self):
        keras.utils.set_random_seed(0)
        self.encoder = mlp.mlp(image_shape=(8, 8, 1), widths=(16,))

    def encoders(self):
        return {"image": self.encoder}


def run(step):
    return evaluation.Run(step, steps=10, steps_per_epoch=5, views=None, data=None, engine=None, seed=0, batch_size=8)


def test_the_same_as_the_protocol_at_every_call(data):
    train, test = data
    method, evaluator = Method(), monitor.KNN(train, test, k=20)
    values = []
    for step in (1, 2):
        x, judged = features.extract(method, train), features.extract(method, test)
        expected, _ = knn.knn_accuracy(x, train.labels, judged, test.labels, 20)
        assert evaluator(method, run(step)) == {"knn_accuracy": expected}
        values.append(expected)
        kernel = method.encoder.trainable_variables[0]
        kernel.assign(keras.ops.concatenate([kernel[:, :1]] * 16, axis=1))  # it has forgotten all but one feature
    assert values[1] < values[0]
    assert evaluator(Method(), run(3)) == {"knn_accuracy": values[0]}


def test_a_limit_takes_a_random_part_of_the_training_images(data):
    evaluator = monitor.KNN(*data, k=5, limit=50)
    assert evaluator.train.size == 50 and evaluator.test.size == 120
    assert set(evaluator.train.ids) < set(data[0].ids) and evaluator.train.ids.max() > 200
    np.testing.assert_array_equal(evaluator.train.ids, monitor.KNN(*data, k=5, limit=50).train.ids)


def test_refuses_at_construction(data):
    class Unlabeled:
        name, split, labels = "folder", "train", None

    for pair in ((Unlabeled(), data[1]), (data[0], Unlabeled())):
        with pytest.raises(
            ValueError, match="KNN: expected sources with labels. Received: folder train, which has none"
        ):
            monitor.KNN(*pair)
    with pytest.raises(ValueError, match="`k` from 1 to the 50 training images. Received: k=200"):
        monitor.KNN(*data, limit=50)
    with pytest.raises(ValueError, match="`temperature` > 0"):
        monitor.KNN(*data, temperature=0)
    with pytest.raises(ValueError, match="`limit`"):
        monitor.KNN(*data, limit=0)


def with_views(step=1):
    views = view.Views((view.Chain((geometry.Crop(8, area=(0.3, 1.0)),)),) * 2)
    return run(step)._replace(views=views, seed=3)


class OfZoo(Method):
    """A method as far as `Ranks` knows one."""

    @property
    def variables(self):
        return self.encoder.variables


def test_ranks_are_those_of_the_features_and_of_the_views(data):
    source, method = data[0], OfZoo()
    found = monitor.Ranks(source, limit=100, views=3)(method, with_views())
    sample = source.sample(100)
    z = features.extract(method, sample)
    assert found["rank_me"] == pytest.approx(float(ranks.rank_me(z)), rel=1e-5)
    assert found["alpha_req"] == pytest.approx(float(ranks.alpha_req(z)), rel=1e-4)
    images = sample.images.astype("float32") / 255
    drawn = []
    for draw in range(3):
        seed = seeds.Seed(3).fold(draw).fold(sample.ids.astype("int32"))
        drawn.append(keras.ops.convert_to_numpy(method.encoder(with_views().views(images, seed)[0])))
    assert found["lidar"] == pytest.approx(float(ranks.lidar(np.stack(drawn, axis=1))), rel=1e-3)


def test_ranks_follow_the_weights_and_need_no_views(data):
    evaluator, method = monitor.Ranks(data[0], limit=100), OfZoo()
    before = evaluator(method, run(1))
    kernel = method.encoder.trainable_variables[0]
    kernel.assign(keras.ops.concatenate([kernel[:, :1]] * 16, axis=1))
    after = evaluator(method, run(2))
    assert set(before) == set(after) == {"rank_me", "alpha_req"} and after["rank_me"] < before["rank_me"]


@pytest.mark.parametrize("arguments", [{"limit": 1}, {"views": 1}])
def test_ranks_refuse(data, arguments):
    with pytest.raises(ValueError, match=f"Ranks: expected `{next(iter(arguments))}` to be an integer >= 2"):
        monitor.Ranks(data[0], **arguments)
