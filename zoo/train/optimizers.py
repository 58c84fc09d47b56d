"""Optimizers that Keras lacks: LARS, SGD with L2 regularization in the gradient, and optimizers by variable path."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from zoo import checks

# Which variables weight decay and layer adaptation reach; biases and norm scales have rank 1.
REACHES: dict[str, Callable[[Any], bool]] = {
    "kernels": lambda variable: len(variable.shape) > 1,
    "all": lambda variable: True,
}


class _Momentum(keras.optimizers.Optimizer):
    """Base class of the optimizers below, with a momentum slot for every variable."""

    def __init__(self, learning_rate, momentum, weight_decay, decay, name, **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        who = type(self).__name__
        checks.require(0 <= momentum < 1, who, "`momentum` in [0, 1)", momentum=momentum)
        checks.non_negative(who, weight_decay=weight_decay)
        checks.one_of(who, "decay", decay, tuple(REACHES))
        self.momentum, self.decay = momentum, decay
        # Not `weight_decay`: Keras would apply that name itself, decoupled from the gradient.
        self.l2 = weight_decay

    def build(self, variables):
        """Makes the momentum slots."""
        if self.built:
            return
        super().build(variables)
        self.slots = [self.add_variable_from_reference(v, "momentum") for v in variables]
        self._decayed = [REACHES[self.decay](v) for v in variables]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        own = {"momentum": self.momentum, "weight_decay": self.l2, "decay": self.decay}
        return {**super().get_config(), **own}


class SGD(_Momentum):
    """Momentum SGD with L2 regularization in the gradient: `g += decay * w; v = m * v + g; w -= lr * v`.

    MoCo, PCL and most other papers use this form. Keras' own `weight_decay` is decoupled from the gradient: with
    momentum 0.9, the same value shrinks the weights about ten times less.

    Args:
        learning_rate: float or schedule.
        momentum: in [0, 1).
        weight_decay: L2 coefficient, >= 0.
        decay: which variables decay: "kernels", not biases and norm scales, or "all" (MoCo, PCL, SimSiam).
    """

    def __init__(
        self,
        learning_rate: Any,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        decay: str = "kernels",
        name: str = "SGD",
        **kwargs: Any,
    ):
        super().__init__(learning_rate, momentum, weight_decay, decay, name, **kwargs)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates a variable."""
        rate = ops.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        if self.l2 and self._decayed[index]:
            gradient = gradient + self.l2 * variable
        velocity = self.momentum * self.slots[index] + gradient
        self.assign(self.slots[index], velocity)
        self.assign_sub(variable, rate * velocity)


class LARS(_Momentum):
    """Layer-wise adaptive rate scaling (You et al., 2017, https://arxiv.org/abs/1708.03888), as SimCLR uses it.

    `g += decay * w; trust = coefficient * |w| / |g|; v = m * v + lr * trust * g; w -= v`. The trust ratio is 1 if
    either norm is zero, and for variables that are not adapted.

    Args:
        learning_rate: float or schedule.
        momentum: in [0, 1).
        weight_decay: L2 coefficient, >= 0; 1e-6 in SimCLR v1, 1e-4 in v2.
        trust_coefficient: positive; 0.001 in SimCLR.
        decay: which variables decay: "kernels", not biases and norm scales, or "all" (SwAV).
        adapted: which variables have a trust ratio: "kernels" or "all" (SwAV).
        rate_in_momentum: whether the momentum sums updates, each with the rate of its step (SimCLR), or gradients,
            which the current rate then scales: `v = m * v + trust * g; w -= lr * v` (BYOL, MoCo v3, SwAV). The two
            differ while the rate changes.
    """

    def __init__(
        self,
        learning_rate: Any,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        trust_coefficient: float = 0.001,
        decay: str = "kernels",
        adapted: str = "kernels",
        rate_in_momentum: bool = True,
        name: str = "LARS",
        **kwargs: Any,
    ):
        super().__init__(learning_rate, momentum, weight_decay, decay, name, **kwargs)
        checks.positive("LARS", trust_coefficient=trust_coefficient)
        checks.one_of("LARS", "adapted", adapted, tuple(REACHES))
        self.trust_coefficient, self.adapted, self.rate_in_momentum = trust_coefficient, adapted, rate_in_momentum

    def build(self, variables: Sequence) -> None:
        """Makes the momentum slots."""
        super().build(variables)
        self._adapted = [REACHES[self.adapted](v) for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates a variable."""
        rate = ops.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        if self._decayed[index]:
            gradient = gradient + self.l2 * variable
        inner, outer = (rate, None) if self.rate_in_momentum else (1.0, rate)
        if self._adapted[index]:
            weight = ops.sqrt(ops.sum(ops.square(variable)))
            slope = ops.sqrt(ops.sum(ops.square(gradient)))
            ratio = self.trust_coefficient * weight / ops.where(slope > 0, slope, 1)
            inner = inner * ops.where(ops.logical_and(weight > 0, slope > 0), ratio, 1)
        velocity = self.momentum * self.slots[index] + inner * gradient
        self.assign(self.slots[index], velocity)
        self.assign_sub(variable, velocity if outer is None else outer * velocity)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        names = "trust_coefficient", "adapted", "rate_in_momentum"
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def decaying(optimizer: Callable, decay: str = "all") -> Callable:
    """Returns a factory of an optimizer of Keras, such as AdamW, whose weight decay reaches the named variables.

    Without it, biases and norm scales do not decay. The optimizers of this module have a parameter for it.

    Args:
        optimizer: factory of the optimizer, called with `learning_rate`.
        decay: "all" or "kernels".
    """
    checks.one_of("decaying", "decay", decay, tuple(REACHES))

    def factory(learning_rate):
        made = optimizer(learning_rate=learning_rate)
        made.decay = decay
        return made

    return factory


def unscheduled(optimizer: Callable, rate: float) -> Callable:
    """Returns a factory of an optimizer whose learning rate stays, whatever the schedule of the run.

    Args:
        optimizer: factory of the optimizer, called with `learning_rate`.
        rate: the learning rate, positive; no batch size scales it.
    """
    checks.positive("unscheduled", rate=rate)
    return lambda learning_rate: optimizer(learning_rate=rate)


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
            reached = REACHES[getattr(part, "decay", "kernels")]
            part.exclude_from_weight_decay(var_list=[variable for variable in variables if not reached(variable)])
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
