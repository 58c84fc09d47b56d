"""What Keras lacks: LARS, SGD whose weight decay is part of the gradient, and several optimizers by path."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from zoo import checks


def spared(variable: Any) -> bool:
    """Returns whether weight decay and layer adaptation spare a variable: biases and norm scales, all of rank 1."""
    return len(variable.shape) <= 1


class _Momentum(keras.optimizers.Optimizer):
    """What the two share: a momentum slot for every variable."""

    def __init__(self, learning_rate, momentum, weight_decay, name, **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        who = type(self).__name__
        checks.require(0 <= momentum < 1, who, "`momentum` in [0, 1)", momentum=momentum)
        checks.non_negative(who, weight_decay=weight_decay)
        self.momentum = momentum
        # Not `weight_decay`: Keras would apply that name itself, decoupled from the gradient.
        self.l2 = weight_decay

    def build(self, variables):
        """Makes the slots."""
        if self.built:
            return
        super().build(variables)
        self.slots = [self.add_variable_from_reference(v, "momentum") for v in variables]
        self._spared = [spared(v) for v in variables]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "momentum": self.momentum, "weight_decay": self.l2}


class SGD(_Momentum):
    """Momentum SGD with L2 in the gradient: `g += decay * w; v = m * v + g; w -= lr * v`.

    The form of MoCo, PCL and most of the field. Keras' own `weight_decay` is decoupled: with momentum 0.9 the same
    number there shrinks the weights about ten times less. Biases and norm scales are not decayed.

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
        """Updates one variable."""
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
    neither decayed nor adapted. Where either norm is zero the trust ratio is 1.

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
        """Updates one variable."""
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
    """Returns a factory of an optimizer that trains some variables by optimizers of their own.

    Args:
        default: factory of the optimizer of all other variables, called with `learning_rate`.
        *others: pairs (pattern, factory); the pattern is a regular expression for the whole path of a variable.
        pairs: more such pairs, for gin, which binds named parameters only.

    Returns:
        Function of `learning_rate`, to a `keras.optimizers.MultiOptimizer`.
    """

    def factory(learning_rate):
        chosen = {pattern: make(learning_rate=learning_rate) for pattern, make in (*others, *pairs)}
        optimizer_map = keras.optimizers.OptimizerMap(default(learning_rate=learning_rate), chosen)
        return keras.optimizers.MultiOptimizer(optimizer_map)

    return factory


def parts(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    """Returns the optimizers that an optimizer consists of, itself if it is a plain one."""
    if hasattr(optimizer, "inner_optimizer"):
        return parts(optimizer.inner_optimizer)
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return list(optimizer.optimizers)
    return [optimizer]


def build(factory: Callable, learning_rate: Any, precision: str, variables: Sequence) -> keras.optimizers.Optimizer:
    """Makes the optimizer of a run.

    Args:
        factory: of a Keras optimizer, called with `learning_rate`.
        learning_rate: float or schedule.
        precision: "float32", "bfloat16" or "float16"; the last scales the loss.
        variables: those that are trained.

    Raises:
        ValueError: an optimizer of `by_path` would train nothing.
    """
    optimizer = factory(learning_rate=learning_rate)
    for part in parts(optimizer):
        if part.weight_decay:
            # Keras' own decay would shrink biases and norm scales too; by variable, since its names miss most of them.
            part.exclude_from_weight_decay(var_list=[variable for variable in variables if spared(variable)])
    if precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    # Keras leaves such a part without slots, and the step of its schedule at 0.
    idle = [part.name for part in parts(optimizer) if not part.built]
    expected = "every optimizer of `by_path`, the default too, to train a variable"
    checks.require(not idle, "build", expected, idle=idle, paths=[variable.path for variable in variables])
    return optimizer


def learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Returns the present learning rate, of the default optimizer where there are several."""
    return float(parts(optimizer)[-1].learning_rate)
