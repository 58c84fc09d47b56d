import keras
import numpy as np
import pytest

from zoo.train import optimizers, schedules


def lars_numpy(w, gradients, rate, momentum, decay, trust):
    velocity = np.zeros_like(w)
    for g in gradients:
        g = g + decay * w
        ratio = trust * np.linalg.norm(w) / np.linalg.norm(g) if np.linalg.norm(w) and np.linalg.norm(g) else 1.0
        velocity = momentum * velocity + rate * ratio * g
        w = w - velocity
    return w


def sgd_numpy(w, gradients, rate, momentum, decay):
    velocity = np.zeros_like(w)
    for g in gradients:
        velocity = momentum * velocity + g + decay * w
        w = w - rate * velocity
    return w


def train(optimizer, start, gradients):
    variable = keras.Variable(start, dtype="float32")
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient, dtype="float32")], [variable])
    return keras.ops.convert_to_numpy(variable)


def draw(shape, count=4):
    generator = np.random.default_rng(0)
    return generator.normal(size=shape), [generator.normal(size=shape) for _ in range(count)]


@pytest.mark.parametrize("shape", [(3, 4), (3, 3, 2, 5)])
def test_lars_equals_its_formula(shape):
    w, gradients = draw(shape)
    ours = train(optimizers.LARS(0.5, momentum=0.9, weight_decay=0.01, trust_coefficient=0.1), w, gradients)
    np.testing.assert_allclose(ours, lars_numpy(w, gradients, 0.5, 0.9, 0.01, 0.1), rtol=1e-5, atol=1e-6)


def test_lars_neither_decays_nor_adapts_vectors():
    w, gradients = draw((5,))
    ours = train(optimizers.LARS(0.5, momentum=0.9, weight_decay=0.3), w, gradients)
    np.testing.assert_allclose(ours, sgd_numpy(w, gradients, 0.5, 0.9, 0.0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("zero", ["weight", "gradient"])
def test_lars_trusts_fully_where_a_norm_is_zero(zero):
    w = np.zeros((2, 2)) if zero == "weight" else np.ones((2, 2))
    gradient = np.ones((2, 2)) if zero == "weight" else np.zeros((2, 2))
    ours = train(optimizers.LARS(0.1, weight_decay=0.0), w, [gradient])
    np.testing.assert_allclose(ours, w - 0.1 * gradient, rtol=1e-6)


def test_lars_does_not_see_the_scale_of_the_loss():
    w, gradients = draw((3, 4))
    optimizer = [optimizers.LARS(0.5, weight_decay=0.0) for _ in range(2)]
    doubled = train(optimizer[0], w, [2 * g for g in gradients])
    np.testing.assert_allclose(doubled, train(optimizer[1], w, gradients), rtol=1e-5)


def test_sgd_couples_its_decay_to_the_momentum():
    w, gradients = draw((3, 4))
    ours = train(optimizers.SGD(0.1, momentum=0.9, weight_decay=0.2), w, gradients)
    np.testing.assert_allclose(ours, sgd_numpy(w, gradients, 0.1, 0.9, 0.2), rtol=1e-5, atol=1e-6)


def test_sgd_equals_keras_without_decay():
    w, gradients = draw((3, 4))
    theirs = train(keras.optimizers.SGD(0.1, momentum=0.9), w, gradients)
    # Keras keeps the rate inside the momentum; at a constant rate the two are one.
    np.testing.assert_allclose(train(optimizers.SGD(0.1), w, gradients), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.LARS])
def test_configuration_survives_serialization(kind):
    copy = keras.optimizers.deserialize(
        keras.optimizers.serialize(kind(0.1, momentum=0.5, weight_decay=0.25)), custom_objects={kind.__name__: kind}
    )
    assert isinstance(copy, kind) and copy.momentum == 0.5 and copy.l2 == 0.25


@pytest.mark.parametrize("arguments", [{"momentum": 1.0}, {"weight_decay": -1}])
def test_refuses_bad_arguments(arguments):
    with pytest.raises(ValueError, match="expected"):
        optimizers.LARS(0.1, **arguments)


class Model(keras.Model):
    """An encoder and a head, a kernel and a bias each."""

    def __init__(self):
        super().__init__()
        for name in ("encoder", "head"):
            setattr(self, name, keras.layers.Dense(3, name=name, bias_initializer="ones"))
            getattr(self, name).build((None, 3))
        self.built = True


def values(variables):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def decayed(learning_rate):
    return keras.optimizers.AdamW(learning_rate, weight_decay=0.1)


def test_by_path_trains_each_variable_by_the_optimizer_of_the_path():
    model = Model()
    factory = optimizers.by_path(optimizers.SGD, (r".*head/kernel", optimizers.LARS))
    optimizer = optimizers.build(factory, 0.5, "float32", model.trainable_variables)
    before, gradients = values(model.trainable_variables), [np.full(v.shape, 0.2) for v in model.trainable_variables]
    for _ in range(2):
        tensors = [keras.ops.convert_to_tensor(gradient, dtype="float32") for gradient in gradients]
        optimizer.apply(tensors, model.trainable_variables)
    for variable, start, gradient in zip(model.trainable_variables, before, gradients, strict=True):
        expected = sgd_numpy(start, [gradient] * 2, 0.5, 0.9, 0.0)
        if variable is model.head.kernel:
            expected = lars_numpy(start, [gradient] * 2, 0.5, 0.9, 1e-6, 0.001)
        np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6, err_msg=variable.path)


def test_by_path_takes_pairs_as_gin_binds_them():
    factory = optimizers.by_path(optimizers.SGD, pairs=[(".*head/.*", optimizers.LARS)])
    optimizer = optimizers.build(factory, 0.5, "float32", Model().trainable_variables)
    assert {type(part) for part in optimizers.parts(optimizer)} == {optimizers.SGD, optimizers.LARS}


def test_by_path_refuses_a_pattern_that_occurs_twice():
    with pytest.raises(ValueError, match=r"by_path: expected every pattern once. Received: patterns=\['a', 'b', 'a'\]"):
        optimizers.by_path(optimizers.SGD, ("a", optimizers.LARS), ("b", optimizers.SGD), pairs=[("a", decayed)])


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_decay_spares_biases_in_every_part(precision):
    model = Model()
    factory = optimizers.by_path(decayed, (".*head/.*", decayed))
    optimizer = optimizers.build(factory, 0.5, precision, model.trainable_variables)
    parts = optimizers.parts(optimizer)
    assert len(parts) == 2 and all(part.weight_decay == 0.1 for part in parts)
    before = values(model.trainable_variables)
    zeros = [keras.ops.zeros(v.shape) for v in model.trainable_variables]
    optimizer.apply(zeros, model.trainable_variables)
    for variable, start in zip(model.trainable_variables, before, strict=True):
        for part in parts:
            assert part._use_weight_decay(variable) == (len(variable.shape) > 1), variable.path
        factor = 1 if len(variable.shape) == 1 else 1 - 0.5 * 0.1  # once, though there are two optimizers
        np.testing.assert_allclose(variable, start * factor, rtol=1e-5)


@pytest.mark.parametrize("patterns", [(".*heads/.*",), (".*head/.*", "head/bias_"), (".*head/.*", ".*encoder/.*")])
def test_refuses_an_optimizer_that_trains_nothing(patterns):
    factory = optimizers.by_path(optimizers.SGD, *((pattern, optimizers.LARS) for pattern in patterns))
    for precision in ("float32", "float16"):
        with pytest.raises(ValueError, match=r"to train a variable. Received: idle=\['(LARS|SGD)'\].*head/kernel"):
            optimizers.build(factory, 0.1, precision, Model().trainable_variables)


def test_the_learning_rate_is_that_of_the_default_optimizer():
    model = Model()
    schedule = schedules.WarmupCosine(1.0, "none", warmup_epochs=0)(16, steps=4, steps_per_epoch=1)
    slow = lambda learning_rate: optimizers.LARS(0.01)  # noqa: E731
    for others in ((), ((".*head/.*", slow),), ((".*encoder/kernel", slow), (".*head/.*", slow))):
        factory = optimizers.by_path(optimizers.SGD, *others) if others else optimizers.SGD
        for precision in ("float32", "float16"):
            optimizer = optimizers.build(factory, schedule, precision, model.trainable_variables)
            assert optimizers.learning_rate(optimizer) == pytest.approx(1.0)
            gradients = [keras.ops.zeros(v.shape) for v in model.trainable_variables]
            optimizer.apply(gradients, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            assert optimizers.learning_rate(optimizer) == pytest.approx(0.5)


def rate(schedule, step):
    return float(schedule(step))


def test_schedule_warms_up_then_follows_half_a_cosine():
    schedule = schedules.WarmupCosine(base=0.3, scaling="linear", warmup_epochs=2)(512, steps=100, steps_per_epoch=10)
    assert rate(schedule, 0) == 0
    assert rate(schedule, 10) == pytest.approx(0.3)  # half of the peak 0.3 * 512 / 256
    assert rate(schedule, 20) == pytest.approx(0.6)
    assert rate(schedule, 60) == pytest.approx(0.3)
    assert rate(schedule, 100) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("scaling, peak", [("linear", 4.8), ("sqrt", 4.8), ("none", 0.3)])
def test_both_scalings_give_the_papers_rate_at_4096(scaling, peak):
    base = 0.075 if scaling == "sqrt" else 0.3
    schedule = schedules.WarmupCosine(base, scaling, warmup_epochs=0)(4096, steps=10, steps_per_epoch=1)
    assert rate(schedule, 0) == pytest.approx(peak)


def test_schedule_refuses_a_warmup_longer_than_the_run():
    with pytest.raises(ValueError, match="warmup_epochs"):
        schedules.WarmupCosine(warmup_epochs=10)(256, steps=100, steps_per_epoch=10)
    with pytest.raises(ValueError, match="scaling"):
        schedules.WarmupCosine(scaling="cubic")
