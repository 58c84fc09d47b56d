"""What Keras lacks: LARS, and SGD whose weight decay is part of the gradient, as the papers have it."""

import keras
from keras import ops


def spared(variable):
    """Whether a variable is exempt from weight decay and layer adaptation: biases and norm scales, all of rank 1."""
    return len(variable.shape) <= 1


class _Momentum(keras.optimizers.Optimizer):
    """Shared state of the two: one momentum slot per variable."""

    def __init__(self, learning_rate, momentum, weight_decay, name, **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        if not 0 <= momentum < 1:
            raise ValueError(f"{type(self).__name__}: expected `momentum` in [0, 1). Received: momentum={momentum}.")
        if weight_decay < 0:
            raise ValueError(
                f"{type(self).__name__}: expected `weight_decay` >= 0. Received: weight_decay={weight_decay}."
            )
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

    def get_config(self):
        """The arguments of the constructor."""
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

    def __init__(self, learning_rate, momentum=0.9, weight_decay=0.0, name="SGD", **kwargs):
        super().__init__(learning_rate, momentum, weight_decay, name, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
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

    def __init__(self, learning_rate, momentum=0.9, weight_decay=1e-6, trust_coefficient=0.001, name="LARS", **kwargs):
        super().__init__(learning_rate, momentum, weight_decay, name, **kwargs)
        if not trust_coefficient > 0:
            raise ValueError(
                f"LARS: expected `trust_coefficient` > 0. Received: trust_coefficient={trust_coefficient}."
            )
        self.trust_coefficient = trust_coefficient

    def update_step(self, gradient, variable, learning_rate):
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

    def get_config(self):
        """The arguments of the constructor."""
        return {**super().get_config(), "trust_coefficient": self.trust_coefficient}
