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


def byol_numpy(w, gradients, rates, momentum, decay, trust):
    """LARS as in the code of BYOL and of MoCo v3: the rate of the step scales the whole momentum."""
    velocity = np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        g = g + decay * w
        velocity = momentum * velocity + g * trust * np.linalg.norm(w) / np.linalg.norm(g)
        w = w - rate * velocity
    return w


def larc_numpy(w, gradients, rates, momentum, decay, trust):
    """Apex' LARC without clipping, around SGD, as in SwAV's code: the trust ratio divides by a sum of two norms."""
    velocity = np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        size = np.linalg.norm(w)
        ratio = trust * size / (np.linalg.norm(g) + size * decay + 1e-8) if size and np.linalg.norm(g) else 1.0
        velocity = momentum * velocity + ratio * (g + decay * w)
        w = w - rate * velocity
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


def halving(peak, count):
    """A schedule whose rate halves at every step, and its rates."""
    schedule = keras.optimizers.schedules.ExponentialDecay(peak, 1, 0.5)
    return schedule, [peak * 0.5**step for step in range(count)]


def test_lars_takes_the_rate_out_of_the_momentum():
    w, gradients = draw((3, 4))
    schedule, rates = halving(0.5, len(gradients))
    arguments = {"momentum": 0.9, "weight_decay": 0.01, "trust_coefficient": 0.1}
    ours = train(optimizers.LARS(schedule, rate_in_momentum=False, **arguments), w, gradients)
    np.testing.assert_allclose(ours, byol_numpy(w, gradients, rates, 0.9, 0.01, 0.1), rtol=1e-5, atol=1e-6)
    assert np.abs(ours - train(optimizers.LARS(schedule, **arguments), w, gradients)).max() > 1e-3
    constant = [optimizers.LARS(0.5, rate_in_momentum=inside, **arguments) for inside in (True, False)]
    first, second = (train(optimizer, w, gradients) for optimizer in constant)
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (3, 4)])
def test_lars_of_all_variables_is_the_larc_of_swav(shape):
    w, gradients = draw(shape)
    schedule, rates = halving(4.8, len(gradients))
    # The norm of a sum is the sum of the norms only where decay is small, as SwAV's is.
    ours = train(optimizers.LARS(schedule, 0.9, 1e-6, 0.1, "all", "all", rate_in_momentum=False), w, gradients)
    np.testing.assert_allclose(ours, larc_numpy(w, gradients, rates, 0.9, 1e-6, 0.1), rtol=1e-5, atol=1e-6)
    zero = np.zeros(shape)  # a beta at the start of a run: its first step is that of plain SGD
    ours = train(optimizers.LARS(0.1, 0.9, 1e-6, 0.1, "all", "all", rate_in_momentum=False), zero, gradients[:1])
    np.testing.assert_allclose(ours, larc_numpy(zero, gradients[:1], [0.1], 0.9, 1e-6, 0.1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", ["kernels", "all"])
@pytest.mark.parametrize("adapted", ["kernels", "all"])
def test_lars_decays_and_adapts_the_variables_that_are_named(decay, adapted):
    w, gradients = draw((5,))
    ours = train(optimizers.LARS(0.5, 0.9, 0.3, 0.1, decay, adapted), w, gradients)
    used = 0.3 if decay == "all" else 0.0
    adapting = lars_numpy(w, gradients, 0.5, 0.9, used, 0.1)
    expected = adapting if adapted == "all" else sgd_numpy(w, gradients, 0.5, 0.9, used)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


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


@pytest.mark.parametrize("decay", ["kernels", "all"])
def test_sgd_decays_the_variables_that_are_named(decay):
    w, gradients = draw((5,))
    ours = train(optimizers.SGD(0.1, 0.9, 0.2, decay), w, gradients)
    expected = sgd_numpy(w, gradients, 0.1, 0.9, 0.2 if decay == "all" else 0.0)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_sgd_equals_keras_without_decay():
    w, gradients = draw((3, 4))
    theirs = train(keras.optimizers.SGD(0.1, momentum=0.9), w, gradients)
    # Keras keeps the rate inside the momentum; at a constant rate the two are one.
    np.testing.assert_allclose(train(optimizers.SGD(0.1), w, gradients), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "kind, further", [(optimizers.SGD, {}), (optimizers.LARS, {"adapted": "all", "rate_in_momentum": False})]
)
def test_configuration_survives_serialization(kind, further):
    given = {"momentum": 0.5, "weight_decay": 0.25, "decay": "all", **further}
    copy = keras.optimizers.deserialize(
        keras.optimizers.serialize(kind(0.1, **given)), custom_objects={kind.__name__: kind}
    )
    assert isinstance(copy, kind) and given.items() <= copy.get_config().items()


@pytest.mark.parametrize("arguments", [{"momentum": 1.0}, {"weight_decay": -1}, {"decay": "biases"}, {"adapted": None}])
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


@pytest.mark.parametrize("decay", ["kernels", "all"])
def test_decay_of_keras_reaches_the_variables_that_are_named(decay):
    model = Model()
    optimizer = optimizers.build(optimizers.decaying(decayed, decay), 0.5, "float32", model.trainable_variables)
    before = values(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    for variable, start in zip(model.trainable_variables, before, strict=True):
        factor = 1 - 0.5 * 0.1 if decay == "all" or len(variable.shape) > 1 else 1
        np.testing.assert_allclose(variable, start * factor, rtol=1e-5, err_msg=variable.path)
    with pytest.raises(ValueError, match="decaying: expected `decay` to be .* Received: decay='biases'"):
        optimizers.decaying(decayed, "biases")


def test_a_rate_stays_beside_a_schedule():
    model = Model()
    schedule, rates = halving(1.0, 3)
    pairs = [(".*head/.*", optimizers.unscheduled(optimizers.SGD, 0.25))]
    optimizer = optimizers.build(
        optimizers.by_path(optimizers.SGD, pairs=pairs), schedule, "float32", model.trainable_variables
    )
    assert optimizers.learning_rate(optimizer) == pytest.approx(1.0)
    before, gradient = values(model.trainable_variables), 0.5
    gradients = [keras.ops.full(v.shape, gradient) for v in model.trainable_variables]
    for _ in rates:
        optimizer.apply(gradients, model.trainable_variables)
    velocities = [gradient, 1.9 * gradient, 2.71 * gradient]
    for variable, start in zip(model.trainable_variables, before, strict=True):
        used = [0.25] * 3 if variable is model.head.kernel or variable is model.head.bias else rates
        moved = sum(rate * velocity for rate, velocity in zip(used, velocities, strict=True))
        np.testing.assert_allclose(variable, start - moved, rtol=1e-5, atol=1e-6, err_msg=variable.path)
    with pytest.raises(ValueError, match="unscheduled: expected `rate`"):
        optimizers.unscheduled(optimizers.SGD, 0.0)


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


def test_schedule_begins_and_ends_at_fractions_of_the_peak():
    # SwAV: 0.3 to 4.8 in ten epochs, then to 0.0048.
    made = schedules.WarmupCosine(0.3, "linear", warmup_epochs=10, first=0.0625, last=0.001)
    schedule = made(4096, steps=100, steps_per_epoch=1)
    assert [rate(schedule, step) for step in (0, 5, 10)] == pytest.approx([0.3, 2.55, 4.8])
    assert rate(schedule, 100) == pytest.approx(0.0048)
    assert rate(schedule, 55) == pytest.approx((4.8 + 0.0048) / 2)
    assert rate(schedules.WarmupCosine(1.0, "none", 0, last=0.1)(8, 10, 1), 10) == pytest.approx(0.1)


def test_steps_fall_after_the_epochs_that_are_named():
    schedule = schedules.Steps(0.03, epochs=(120, 160))(512, steps=2000, steps_per_epoch=10)
    found = [rate(schedule, step) for step in (0, 1199, 1200, 1599, 1600, 1999)]
    assert found == pytest.approx([0.06, 0.06, 0.006, 0.006, 0.0006, 0.0006])


@pytest.mark.parametrize("epochs", [(), (0, 1), (2, 1), (1, 1), (1, 30)])
def test_steps_refuse_epochs_that_are_none(epochs):
    with pytest.raises(ValueError, match="Steps: expected .*epochs"):
        schedules.Steps(epochs=epochs)(16, steps=60, steps_per_epoch=2)
