"""The contract for the methods of `family`, on labeled data, and steps of theirs."""

import random

import contract
import numpy as np
import pytest
from keras import ops
from reference import family

from zoo.methods import method as methods

LABELS = np.arange(64) % 3


class OfFamily(contract.Contract):
    """A subclass names the method, and arguments other than its own."""

    size, count = 8, 64
    name = ""
    arguments: dict = {}

    def make(self):
        return family.METHODS[self.name](**self.arguments)

    def spec(self, **changes):
        return super().spec(**{"classes": 3, "labels": LABELS, **changes})

    def batch(self, seed=0, first=0):
        label = ops.convert_to_tensor(LABELS[first : first + self.size].astype("int32"))
        return super().batch(seed, first)._replace(label=label)


class WithCrops(OfFamily):
    """Methods that take further views, of small crops."""

    def crops(self, seed=0, sizes=(8, 8, 6, 6, 6)):
        values = np.random.default_rng(seed)
        shapes = [(self.size, side, side, 3) for side in sizes]
        return tuple(ops.convert_to_tensor(values.uniform(size=shape).astype("float32")) for shape in shapes)

    def test_small_crops_join_the_loss(self):
        method, crops = self.make(), self.crops()
        method.begin(self.spec(view_shapes=tuple(tuple(view.shape[1:]) for view in crops)))
        batch = self.batch()._replace(views=crops)
        loss, _, seen = method.contrast(batch, self.step())
        method.remember(seen, self.step())
        other = batch._replace(views=(*crops[:4], self.crops(seed=1)[4]))
        assert np.isfinite(ops.convert_to_numpy(loss)).all()
        assert np.abs(method.contrast(other, self.step())[0] - method.contrast(batch, self.step())[0]).max() > 1e-4

    def test_refuses_another_number_of_views(self):
        with pytest.raises(ValueError, match="two views or more.* Received: views=1"):
            self.make().begin(self.spec(view_shapes=(contract.SHAPE,)))

    @pytest.mark.parametrize(
        ("sizes", "message"),
        [((8, 6), "two large crops of one shape"), ((8, 8, 1), r"images of at least .*Received: .*\(1, 1, 3\)")],
    )
    def test_refuses_crops_that_do_not_fit(self, sizes, message):
        shapes = tuple((side, side, 3) for side in sizes)
        with pytest.raises(ValueError, match=message):
            self.make().begin(self.spec(view_shapes=shapes))


class NeedsLabels(OfFamily):
    """Methods that refuse data without labels, and classes that are too small."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"classes": 0, "labels": None}, "data with labels.* Received: classes=0"),
            ({"labels": np.full(64, -1)}, "images of two classes or more. Received: classes_with_images=0"),
            ({"labels": np.full(64, 2)}, "images of two classes or more. Received: classes_with_images=1"),
            ({"labels": np.array([0] + [1] * 63)}, r"of every class, or a lower `smallest_class`.*classes=\[0\]"),
        ],
    )
    def test_refuses_labels(self, changes, message):
        with pytest.raises(ValueError, match=message):
            self.make().begin(self.spec(**changes))

    def test_trains_on_a_class_of_one_image_if_asked_to(self):
        method = family.METHODS[self.name](**self.arguments, smallest_class=1)
        method.begin(self.spec(labels=np.array([0] + [1] * 63)))
        assert np.isfinite(ops.convert_to_numpy(method.contrast(self.batch(), self.step())[0])).all()

    def test_unknown_labels_are_finite(self):
        batch = self.batch()._replace(label=ops.full((self.size,), -1, "int32"))
        assert np.isfinite(ops.convert_to_numpy(self.begun().contrast(batch, self.step())[0])).all()


def begun(name, **arguments):
    """Returns a method with the same weights for every call."""
    random.seed(1)
    laws = NeedsLabels()
    laws.name = name
    method = family.METHODS[name](**arguments)
    method.begin(laws.spec())
    return method


def batch(seed=0, labels=LABELS):
    """Returns random views of the images 8 * seed, 8 * seed + 1, ..."""
    values = np.random.default_rng(seed)
    views = tuple(ops.convert_to_tensor(values.uniform(size=(8, 8, 8, 3)).astype("float32")) for _ in "ab")
    ids = np.arange(8 * seed, 8 * seed + 8, dtype="int32")
    label = ops.convert_to_tensor(labels[ids].astype("int32"))
    return methods.Batch(views, ops.convert_to_tensor(ids), label)


def step(number=0):
    """Returns the `Step` of a run of twenty steps, four an epoch."""
    return methods.Step(ops.convert_to_tensor(number, "int32"), 20, 4)
