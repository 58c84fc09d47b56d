"""What every method must keep: a subclass names the method, and inherits the tests."""

import keras
import numpy as np
import pytest
from keras import ops

from zoo import replicas
from zoo.models import convnet, heads

SHAPE = (8, 8, 3)


def encoder():
    return convnet.convnet(SHAPE, (4, 8))


def projector(features):
    return heads.projector(features, (8, 4))


class Contract:
    """A subclass defines `make()`, which returns the method with this module's encoder and projector."""

    views = 2
    data = 30  # images that a method with a memory knows

    def make(self):
        raise NotImplementedError

    def images(self, seed=0, batch=6):
        generator = np.random.default_rng(seed)
        return tuple(
            ops.convert_to_tensor(generator.uniform(size=(batch, *SHAPE)).astype("float32")) for _ in range(self.views)
        )

    def examples(self, first=0, batch=6):
        """What the loop knows of a batch: here images `first`, `first + 1`, ... of `data`."""
        return {"id": ops.arange(first, first + batch, dtype="int32"), "label": ops.zeros(batch, "int64")}

    def shapes(self):
        """Shapes of the views."""
        return [tuple(view.shape[1:]) for view in self.images()]

    def gradients(self, method, views):
        """The gradient of the mean loss with respect to every trainable variable, on the engine that runs."""
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = ops.mean(method.contrast(views, self.examples(), replicas.Alone())[0])
            return tape.gradient(loss, [v.value for v in method.trainable_variables])
        import jax

        def loss(values):
            state = zip(method.trainable_variables, values, strict=True)
            with keras.StatelessScope(state_mapping=list(state)):
                return ops.mean(method.contrast(views, self.examples(), replicas.Alone())[0])

        return jax.grad(loss)([v.value for v in method.trainable_variables])

    def test_loss_is_one_finite_number_per_image(self):
        loss, logs, _ = self.make().contrast(self.images(), self.examples(), replicas.Alone())
        assert tuple(loss.shape) == (6,) and np.isfinite(ops.convert_to_numpy(loss)).all()
        assert logs and all(np.shape(value) == () for value in logs.values())

    def test_gradients_reach_every_trainable_variable(self):
        method = self.make()
        gradients = self.gradients(method, self.images())
        for variable, gradient in zip(method.trainable_variables, gradients, strict=True):
            assert gradient is not None and np.abs(ops.convert_to_numpy(gradient)).max() > 0, variable.path

    def test_every_variable_exists_before_the_first_step(self):
        method = self.make()
        method.begin()
        before = [v.path for v in method.variables]
        seen = method.contrast(self.images(), self.examples(), replicas.Alone())[2]
        method.remember(seen, replicas.Alone())
        assert [v.path for v in method.variables] == before

    def test_views_that_are_watched_are_embedded(self):
        watched = self.make().embed_views(self.images())
        assert 1 <= len(watched) <= 2
        for z in watched:
            np.testing.assert_allclose(np.linalg.norm(ops.convert_to_numpy(z), axis=1), 1, rtol=1e-5)

    def test_embeddings_are_unit_vectors(self):
        z = ops.convert_to_numpy(self.make().embed(self.images()[0]))
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)

    def test_evaluation_changes_nothing_and_sees_images_one_by_one(self):
        method = self.make()
        before = [ops.convert_to_numpy(v) for v in method.variables]
        images = self.images()[0]
        features = ops.convert_to_numpy(method.feature_extractor()(images))
        np.testing.assert_allclose(features[2:3], method.feature_extractor()(images[2:3]), atol=1e-5)
        for a, b in zip(before, method.variables, strict=True):
            np.testing.assert_array_equal(a, ops.convert_to_numpy(b))

    def test_refuses_views_of_another_shape(self):
        self.make().check(self.shapes(), np.arange(self.data), 6)
        with pytest.raises(ValueError, match="image_shape.*16, 8, 3"):
            self.make().check([(16, 8, 3), *self.shapes()[1:]], np.arange(self.data), 6)
