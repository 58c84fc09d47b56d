"""Optimizers that Keras lacks: LARS, SGD with L2 regularization in the gradient, and optimizers by variable path."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from zoo import checks


def spared(variable: Any) -> bool:
    """Returns whether weight decay and layer adaptation skip a variable: biases and norm scales, of rank 1."""
    return len(variable.shape) <= 1


class _Momentum(keras.optimizers.Optimizer):
    """Base class of the optimizers below, with a momentum slot for every variable."""

    def __init__(self, learning_rate, momentum, weight_decay, name, **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        who = type(self).__name__
        checks.require(0 <= momentum < 1, who, "`momentum` in [0, 1)", momentum=momentum)
        checks.non_negative(who, weight_decay=weight_decay)
        self.momentum = momentum
        # Not `weight_decay`: Keras would apply that name itself, decoupled from the gradient.
        self.l2 = weight_decay

    def build(self, variables):
        """Makes the momentum slots."""
        if self.built:
            return
        super().build(variables)
        self.slots = [self.add_variable_from_reference(v, "momentum") for v in variables]
        self._spared = [spared(v) for v in variables]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "momentum": self.momentum, "weight_decay": self.l2}


class SGD(_Momentum):
    """Momentum SGD with L2 regularization in the gradient: `g += decay * w; v = m * v + g; w -= lr * v`.

    MoCo, PCL and most other papers use this form. Keras' own `weight_decay` is decoupled from the gradient: with
    momentum 0.9, the same value shrinks the weights about ten times less. Biases and norm scales are not decayed.

    Args:
        learning_rate: float or schedule.
        momentum: in [0, 1).
        weight_decay: L2 coefficient, >= 0.
    """

    def __init__(
        self, learning_rate: Any, momentum: float = 0.9, weight_decay: float = 0.0, name: str = "SGD", **kwargs: Any
    ):
        super().__init__(learning_rate, momentum, weight_decay, name, **kwargs)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates a variable."""
        rate = ops.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        if self.l2 and not self._spared[index]:
            gradient = gradient + self.l2 * variable
        velocity = self.momentum * self.slots[index] + gradient
        self.assign(self.slots[index], velocity)
        self.assign_sub(variable, rate * velocity)


class LARS(_Momentum):
    """Layer-wise adaptive rate scaling (You et al., 2017, https://arxiv.org/abs/1708.03888), as SimCLR uses it.

    `g += decay * w; trust = coefficient * |w| / |g|; v = m * v + lr * trust * g; w -= v`. Biases and norm scales are
    neither decayed nor adapted. The trust ratio is 1 if either norm is zero.

    Args:
        learning_rate: float or schedule.
        momentum: in [0, 1).
        weight_decay: L2 coefficient, >= 0; 1e-6 in SimCLR v1, 1e-4 in v2.
        trust_coefficient: positive; 0.001 in SimCLR.
    """

    def __init__(
        self,
        learning_rate: Any,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        trust_coefficient: float = 0.001,
        name: str = "LARS",
        **kwargs: Any,
    ):
        super().__init__(learning_rate, momentum, weight_decay, name, **kwargs)
        checks.positive("LARS", trust_coefficient=trust_coefficient)
        self.trust_coefficient = trust_coefficient

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates a variable."""
        rate = ops.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        if not self._spared[index]:
            gradient = gradient + self.l2 * variable
            weight = ops.sqrt(ops.sum(ops.square(variable)))
            slope = ops.sqrt(ops.sum(ops.square(gradient)))
            ratio = self.trust_coefficient * weight / ops.where(slope > 0, slope, 1)
            rate = rate * ops.where(ops.logical_and(weight > 0, slope > 0), ratio, 1)
        velocity = self.momentum * self.slots[index] + rate * gradient
        self.assign(self.slots[index], velocity)
        self.assign_sub(variable, velocity)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "trust_coefficient": self.trust_coefficient}


def by_path(default: Callable, *others: tuple[str, Callable], pairs: Sequence[tuple[str, Callable]] = ()) -> Callable:
    """Returns a factory of an optimizer that applies different optimizers to different variables.

    Args:
        default: factory of the optimizer of all other variables, called with `learning_rate`.
        *others: pairs (pattern, factory); the pattern is a regular expression for the whole path of a variable.
        pairs: further such pairs, for gin, which binds named parameters only.

    Returns:
        A function `learning_rate -> keras.optimizers.MultiOptimizer`.

    Raises:
        ValueError: a pattern occurs twice.
    """
    patterns = [pattern for pattern, _ in (*others, *pairs)]
    checks.require(len(set(patterns)) == len(patterns), "by_path", "every pattern once", patterns=patterns)

    def factory(learning_rate):
        chosen = {pattern: make(learning_rate=learning_rate) for pattern, make in (*others, *pairs)}
        optimizer_map = keras.optimizers.OptimizerMap(default(learning_rate=learning_rate), chosen)
        return keras.optimizers.MultiOptimizer(optimizer_map)

    return factory


def parts(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    """Returns the optimizers that `optimizer` combines, or only itself if it combines none."""
    if hasattr(optimizer, "inner_optimizer"):
        return parts(optimizer.inner_optimizer)
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return list(optimizer.optimizers)
    return [optimizer]


def clocks(optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """Returns the step counters that do not count every step, because steps whose gradients overflow are left out.

    The schedule of the learning rate follows them, so the loop sets them to the number of steps.
    """
    return [part.iterations for part in parts(optimizer)] if hasattr(optimizer, "dynamic_scale") else []


def build(factory: Callable, learning_rate: Any, precision: str, variables: Sequence) -> keras.optimizers.Optimizer:
    """Makes the optimizer of a run.

    Args:
        factory: factory of a Keras optimizer, called with `learning_rate`.
        learning_rate: float or schedule.
        precision: "float32", "bfloat16" or "float16"; float16 scales the loss.
        variables: the trained variables.

    Raises:
        ValueError: an optimizer of `by_path` matches no variable.
    """
    optimizer = factory(learning_rate=learning_rate)
    for part in parts(optimizer):
        if part.weight_decay:
            # Keras would decay biases and norm scales, too. Exclusion by name would miss most of them.
            part.exclude_from_weight_decay(var_list=[variable for variable in variables if spared(variable)])
    if precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    # Keras does not build an optimizer without variables; its schedule would stay at step 0.
    idle = [part.name for part in parts(optimizer) if not part.built]
    expected = "every optimizer of `by_path`, the default too, to train a variable"
    checks.require(not idle, "build", expected, idle=idle, paths=[variable.path for variable in variables])
    return optimizer


def learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Returns the current learning rate; that of the default optimizer if there are several."""
    return float(parts(optimizer)[-1].learning_rate)
