"""Batch normalization (Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167), the only one of the zoo."""

from typing import Any

import keras
from keras import ops

from zoo import checks, context, engine
from zoo import replicas as group


@keras.saving.register_keras_serializable(package="zoo")
class BatchNorm(keras.layers.Layer):
    """Normalizes every channel over all other axes, `[B, ..., C] -> [B, ..., C]`.

    Training uses the mean and the variance of the global batch, that of all replicas, whether they belong to a
    `tf.distribute` strategy or are set in `zoo.context`.

    The global batch can also be normalized in groups of equal size, each by its own mean and variance:

        with context.using(bn_groups=8):
            query = encoder(views, training=True)

    MoCo needs this: a query and its key must be normalized in different groups, or the statistics that they have in
    common tell which key belongs to which query. Its authors had one group on each of 8 GPUs.

    The moving averages follow `v <- momentum * v + (1 - momentum) * batch`. The variance that they average is the
    unbiased one, N / (N - 1) times the one that normalizes, as in PyTorch and in TensorFlow's fused kernel, but not in
    `keras.layers.BatchNormalization`. With groups, they average the means over the groups. A layer with
    `trainable = False` normalizes by its moving averages and does not change them.

    Statistics are float32, whatever the dtype of the activations.

    Args:
        momentum: share of a moving average that a step keeps, in [0, 1].
        epsilon: added to the variance.
        center: whether to add a learned beta.
        scale: whether to multiply by a learned gamma.
        gamma_initializer: initializer of gamma; with 'zeros', a residual block begins as the identity.
        **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(
        self,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        gamma_initializer: Any = "ones",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        checks.fractions("BatchNorm", momentum=momentum)
        checks.positive("BatchNorm", epsilon=epsilon)
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.gamma_initializer = keras.initializers.get(gamma_initializer)

    def build(self, input_shape: tuple) -> None:
        """Makes gamma, beta and the moving averages, each `[C]`."""
        valid = len(input_shape) > 1 and input_shape[-1] is not None
        checks.require(valid, "BatchNorm", "inputs [B, ..., C] of known C", input_shape=tuple(input_shape))
        self.channels = input_shape[-1]
        # No autocast: under a mixed policy the weights are read as float32.
        weight = {"shape": (self.channels,), "autocast": False}
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(name="gamma", initializer=self.gamma_initializer, **weight)
        if self.center:
            self.beta = self.add_weight(name="beta", initializer="zeros", **weight)
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", trainable=False, **weight)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", trainable=False, **weight)

    def call(self, x: Any, training: bool = False) -> Any:
        """Returns normalized activations `[B, ..., C]` of the same dtype."""
        dtype = keras.backend.result_type(x.dtype, "float32")
        gamma = ops.ones((self.channels,), dtype) if self.gamma is None else ops.cast(self.gamma, dtype)  # [C]
        beta = ops.zeros((self.channels,), dtype) if self.beta is None else ops.cast(self.beta, dtype)  # [C]
        training = bool(training and self.trainable)
        replicas, bn_groups = engine.current().replicas(), context.current().bn_groups
        if training and bn_groups > 1:
            return self._in_groups(x, gamma, beta, replicas, bn_groups)
        if replicas.count == 1 or not training:
            moving = None if training else (self.moving_mean, self.moving_variance)
            fused = engine.current().fused_batch_norm(x, gamma, beta, moving, self.epsilon)
            if fused:
                if training:
                    self._follow(*fused[1:])
                return fused[0]
        if training:
            mean, variance, count = _moments(x, dtype, replicas)
            self._follow(mean, variance * count / ops.maximum(count - 1, 1))
        else:
            mean, variance = ops.cast(self.moving_mean, dtype), ops.cast(self.moving_variance, dtype)  # [C]
        factor = gamma * ops.rsqrt(variance + self.epsilon)  # [C]
        return ops.cast((ops.cast(x, dtype) - mean) * factor + beta, x.dtype)  # [B, ..., C]

    def _in_groups(self, x, gamma, beta, replicas, bn_groups):
        """Normalizes each group of the global batch by its own moments; the moving averages follow their means."""
        groups_here, rest = divmod(bn_groups, replicas.count)
        if rest or x.shape[0] % groups_here:
            raise ValueError(
                f"BatchNorm: expected `bn_groups` that divide the batch of {replicas.count} x {x.shape[0]} rows "
                f"(replicas x rows on each) into groups of equal size, each on one replica. "
                f"Received: bn_groups={bn_groups}."
            )
        parts, means, variances = [], [], []
        for part in ops.split(x, groups_here, axis=0):
            fused = engine.current().fused_batch_norm(part, gamma, beta, None, self.epsilon)
            if fused:
                y, mean, variance = fused
            else:
                mean, variance, count = _moments(part, gamma.dtype, group.Alone())
                factor = gamma * ops.rsqrt(variance + self.epsilon)  # [C]
                y = ops.cast((ops.cast(part, gamma.dtype) - mean) * factor + beta, x.dtype)
                variance = variance * count / ops.maximum(count - 1, 1)
            parts.append(y)
            means.append(mean)
            variances.append(variance)
        total = ops.stop_gradient(ops.stack([sum(means), sum(variances)]) / bn_groups)  # [2, C]
        self._follow(*ops.unstack(replicas.sum(total), 2))
        return ops.concatenate(parts, axis=0)

    def _follow(self, mean, variance):
        # Replicas compute equal moments, so each assigns its own copy and the copies stay equal.
        for average, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            batch = ops.cast(ops.stop_gradient(batch), average.dtype)
            average.assign(self.momentum * average + (1 - self.momentum) * batch)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the shape of the activations."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = {name: getattr(self, name) for name in ("momentum", "epsilon", "center", "scale")}
        initializer = keras.initializers.serialize(self.gamma_initializer)
        return {**super().get_config(), **config, "gamma_initializer": initializer}


def _moments(x: Any, dtype: str, replicas: group.Replicas) -> tuple[Any, Any, Any]:
    """Returns mean `[C]`, biased variance `[C]` and number of values per channel `[]` over all replicas.

    Gradients flow through mean and variance.
    """
    x = ops.cast(x, dtype)
    axes = tuple(range(len(x.shape) - 1))
    count = ops.cast(ops.prod(ops.stack([ops.shape(x)[axis] for axis in axes])), dtype)
    total = ops.sum(x, axis=axes)  # [C]
    if replicas.count > 1:
        # Replicas may hold batches of different size, so the counts travel with the sums.
        summed = replicas.sum(ops.concatenate([total, ops.reshape(count, (1,))], axis=0))  # [C + 1]
        total, count = summed[:-1], ops.stop_gradient(summed[-1])
    mean = total / count
    # Two passes: the mean of the squares minus the square of the mean loses all digits if the mean is large.
    squares = replicas.sum(ops.sum(ops.square(x - mean), axis=axes))  # [C]
    return mean, squares / count, count
