"""The laws of every method: a subclass names the method and inherits the tests."""

import keras
import numpy as np
import pytest
from keras import ops

from zoo.methods import method as methods
from zoo.models import convnet, heads
from zoo.train import checkpoint

SHAPE = (8, 8, 3)
STATISTICS = ("moving_mean", "moving_variance")


def encoder(image_shape=SHAPE):
    return convnet.convnet(image_shape, (4, 8))


def projector(features):
    return heads.projector(features, (8, 4))


def values(variables):
    """Returns copies of the values of variables."""
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def changed(variables, before):
    """Returns the variables whose values are not those of `before`."""
    pairs = zip(variables, before, strict=True)
    return [variable for variable, value in pairs if np.any(ops.convert_to_numpy(variable) != value)]


class Contract:
    """A subclass defines `make()`, which returns the method before its `begin`, and the views if it takes others."""

    size = 6  # images of a batch
    count = 30  # images of the data

    def make(self):
        raise NotImplementedError

    def spec(self, **changes):
        """Returns the `Spec` of a run, with some fields changed."""
        shapes = tuple(tuple(view.shape[1:]) for view in self.views())
        return methods.Spec(shapes, np.arange(self.count), self.size)._replace(**changes)

    def views(self, seed=0):
        """Returns views of random images."""
        random = np.random.default_rng(seed)
        return tuple(ops.convert_to_tensor(random.uniform(size=(self.size, *SHAPE)).astype("float32")) for _ in "ab")

    def batch(self, seed=0, first=0):
        """Returns random views of the images `first`, `first + 1`, ..."""
        label = ops.zeros(self.size, "int32")
        return methods.Batch(self.views(seed), ops.arange(first, first + self.size, dtype="int32"), label)

    def step(self, number=0):
        return methods.Step(ops.convert_to_tensor(number, "int32"), 20, 5)

    def begun(self):
        method = self.make()
        method.begin(self.spec())
        return method

    def gradients(self, method, batch):
        """Returns the gradient of the mean loss by every trainable variable, on the engine that runs."""
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = ops.mean(method.contrast(batch, self.step())[0])
            return tape.gradient(loss, [v.value for v in method.trainable_variables])
        import jax

        def loss(trained):
            state = zip(method.trainable_variables, trained, strict=True)
            with keras.StatelessScope(state_mapping=list(state)):
                return ops.mean(method.contrast(batch, self.step())[0])

        return jax.grad(loss)([v.value for v in method.trainable_variables])

    def test_loss_is_finite_for_every_image(self):
        loss, logs, _ = self.begun().contrast(self.batch(), self.step())
        assert tuple(loss.shape) == (self.size,) and np.isfinite(ops.convert_to_numpy(loss)).all()
        assert logs and all(np.shape(value) == () for value in logs.values())

    def test_gradients_reach_every_trainable_variable(self):
        method = self.begun()
        gradients = self.gradients(method, self.batch())
        for variable, gradient in zip(method.trainable_variables, gradients, strict=True):
            assert gradient is not None and np.abs(ops.convert_to_numpy(gradient)).max() > 0, (
                f"no gradient reaches {variable.path}"
            )

    def test_begin_makes_every_variable(self):
        method = self.make()
        assert not method.variables and not method.trainable_variables  # factories, not networks
        method.begin(self.spec())
        before, trained = ([id(v) for v in variables] for variables in (method.variables, method.trainable_variables))
        for number in range(2):
            seen = method.contrast(self.batch(number), self.step(number))[2]
            method.remember(seen, self.step(number))
        method.watch(self.batch())
        list(method.encoders().values())
        assert [id(v) for v in method.variables] == before and before
        assert [id(v) for v in method.trainable_variables] == trained and trained

    def test_contrast_changes_only_batch_statistics_and_remember_no_weights(self):
        method = self.begun()
        before = values(method.variables)
        loss, _, seen = method.contrast(self.batch(), self.step())
        found = changed(method.variables, before)
        assert found and {variable.path.split("/")[-1] for variable in found} <= set(STATISTICS)
        again = method.contrast(self.batch(), self.step())[0]  # nothing is remembered yet
        np.testing.assert_allclose(again, loss, rtol=1e-5)
        before = values(method.trainable_variables)
        method.remember(seen, self.step())
        assert not changed(method.trainable_variables, before)

    def test_a_second_method_in_the_process_has_the_same_variables(self):
        first, second = self.begun(), self.begun()
        keys = [[checkpoint.unnumbered(v.path) for v in method.variables] for method in (first, second)]
        assert keys[0] == keys[1]
        assert [tuple(v.shape) for v in first.variables] == [tuple(v.shape) for v in second.variables]
        assert not {id(v) for v in first.variables} & {id(v) for v in second.variables}

    def test_watch_measures_and_changes_nothing(self):
        method = self.begun()
        before = values(method.variables)
        found = {name: ops.convert_to_numpy(value) for name, value in method.watch(self.batch()).items()}
        assert found and all(value.shape == () and np.isfinite(value) for value in found.values())
        assert not changed(method.variables, before)

    def test_evaluation_changes_nothing_and_an_image_does_not_depend_on_its_batch(self):
        method = self.begun()
        before = values(method.variables)
        images = self.views()[0]
        for network in method.encoders().values():
            features = ops.convert_to_numpy(network(images))
            assert features.shape == (self.size, *network.output_shape[1:]) and features.ndim == 2
            np.testing.assert_allclose(features[2:3], network(images[2:3]), atol=1e-5)
        assert not changed(method.variables, before)

    def test_encoders_are_models_by_name_and_the_first_is_the_default(self):
        method = self.begun()
        networks = method.encoders()
        assert networks and all(isinstance(network, keras.Model) for network in networks.values())
        default, images = next(iter(networks)), self.views()[0]
        for name in (None, default):
            features = methods.encoder_named(method, name)(images)
            np.testing.assert_allclose(features, method(images), atol=1e-6)
        with pytest.raises(ValueError, match=f"`encoder` to be one of '{default}'.* Received: encoder='none'"):
            methods.encoder_named(method, "none")
        trained = {id(variable) for variable in method.trainable_variables}
        for network in networks.values():
            assert {id(variable) for variable in network.trainable_variables} <= trained

    def test_refuses_another_number_of_views(self):
        with pytest.raises(ValueError, match=r"view.* Received: views="):
            self.make().begin(self.spec(view_shapes=(SHAPE,) * 7))

    def test_refuses_views_of_other_shapes_than_images_and_patches_have(self):
        shapes = self.spec().view_shapes
        for number, shape in enumerate(shapes):
            other = SHAPE if len(shape) == 4 else (4, 3, 3, 3)
            with pytest.raises(ValueError, match=r"\(\w+, .*Received: .*shape"):
                self.make().begin(self.spec(view_shapes=(*shapes[:number], other, *shapes[number + 1 :])))
