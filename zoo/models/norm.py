"""Batch normalisation (Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167), the zoo's only one."""

import keras
from keras import ops

from zoo import context, engine, replicas


@keras.saving.register_keras_serializable(package="zoo")
class BatchNorm(keras.layers.Layer):
    """Normalises every channel over all other axes, `[B, ..., C] -> [B, ..., C]`.

    Training uses the moments of the batch: of the global batch where there are several replicas, be it by a
    `tf.distribute` strategy or by `zoo.context`.
    The moving averages follow `v <- momentum * v + (1 - momentum) * batch`, where the batch's variance is the unbiased
    one, N / (N - 1) times that which normalises; so do torch and TensorFlow's fused kernel, but not
    `keras.layers.BatchNormalization`. A layer with `trainable = False` uses and keeps its moving averages.

    Statistics are float32, whatever the dtype of the activations.

    Args:
        momentum: of the moving averages, in [0, 1].
        epsilon: added to the variance.
        center: whether to add a learned beta.
        scale: whether to multiply by a learned gamma.
        gamma_initializer: of gamma; 'zeros' lets a residual block begin as the identity.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, momentum=0.9, epsilon=1e-5, center=True, scale=True, gamma_initializer="ones", **kwargs):
        super().__init__(**kwargs)
        if not 0 <= momentum <= 1:
            raise ValueError(f"BatchNorm: expected a momentum in [0, 1]. Received: momentum={momentum!r}.")
        if epsilon <= 0:
            raise ValueError(f"BatchNorm: expected a positive epsilon. Received: epsilon={epsilon!r}.")
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.gamma_initializer = keras.initializers.get(gamma_initializer)

    def build(self, input_shape):
        """Makes gamma, beta and the moving averages, each `[C]`."""
        if len(input_shape) < 2 or input_shape[-1] is None:
            expected = "BatchNorm: expected inputs [B, ..., C] of known C."
            raise ValueError(f"{expected} Received: input_shape={tuple(input_shape)!r}.")
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

    def call(self, x, training=False):
        """Activations `[B, ..., C]` -> normalised activations of the same dtype."""
        dtype = keras.backend.result_type(x.dtype, "float32")
        gamma = ops.ones((self.channels,), dtype) if self.gamma is None else ops.cast(self.gamma, dtype)  # [C]
        beta = ops.zeros((self.channels,), dtype) if self.beta is None else ops.cast(self.beta, dtype)  # [C]
        training = bool(training and self.trainable)
        group, groups = engine.current().replicas(), context.current().bn_groups
        if training and groups > 1:
            return self._in_groups(x, gamma, beta, group, groups)
        if group.count == 1 or not training:
            moving = None if training else (self.moving_mean, self.moving_variance)
            fused = engine.current().fused_batch_norm(x, gamma, beta, moving, self.epsilon)
            if fused:
                if training:
                    self._follow(*fused[1:])
                return fused[0]
        if training:
            mean, variance, count = _moments(x, dtype, group)
            self._follow(mean, variance * count / ops.maximum(count - 1, 1))
        else:
            mean, variance = ops.cast(self.moving_mean, dtype), ops.cast(self.moving_variance, dtype)  # [C]
        factor = gamma * ops.rsqrt(variance + self.epsilon)  # [C]
        return ops.cast((ops.cast(x, dtype) - mean) * factor + beta, x.dtype)  # [B, ..., C]

    def _in_groups(self, x, gamma, beta, group, splits):
        """Each of `splits` groups of the global batch by its own moments, whose averages the moving ones follow."""
        groups, rest = divmod(splits, group.count)
        if rest or x.shape[0] % groups:
            raise ValueError(
                f"BatchNorm: expected groups of equal size on {group.count} replicas with {x.shape[0]} rows each. "
                f"Received: bn_groups={splits}."
            )
        parts, means, variances = [], [], []
        for part in ops.split(x, groups, axis=0):
            fused = engine.current().fused_batch_norm(part, gamma, beta, None, self.epsilon)
            if fused:
                y, mean, variance = fused
            else:
                mean, variance, rows = _moments(part, gamma.dtype, replicas.Alone())
                factor = gamma * ops.rsqrt(variance + self.epsilon)  # [C]
                y = ops.cast((ops.cast(part, gamma.dtype) - mean) * factor + beta, x.dtype)
                variance = variance * rows / ops.maximum(rows - 1, 1)
            parts.append(y)
            means.append(mean)
            variances.append(variance)
        total = ops.stop_gradient(ops.stack([sum(means), sum(variances)]) / splits)  # [2, C]
        self._follow(*ops.unstack(group.sum(total), 2))
        return ops.concatenate(parts, axis=0)

    def _follow(self, mean, variance):
        # Replicas compute equal moments, so each assigns its own copy and the copies stay equal.
        for average, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            batch = ops.cast(ops.stop_gradient(batch), average.dtype)
            average.assign(self.momentum * average + (1 - self.momentum) * batch)

    def compute_output_shape(self, input_shape):
        """The shape of the activations."""
        return input_shape

    def get_config(self):
        """The constructor's arguments."""
        config = {name: getattr(self, name) for name in ("momentum", "epsilon", "center", "scale")}
        initializer = keras.initializers.serialize(self.gamma_initializer)
        return {**super().get_config(), **config, "gamma_initializer": initializer}


def _moments(x, dtype, group):
    """Mean `[C]`, biased variance `[C]` and number of values per channel `[]`, over all replicas; differentiable."""
    x = ops.cast(x, dtype)
    axes = tuple(range(len(x.shape) - 1))
    count = ops.cast(ops.prod(ops.stack([ops.shape(x)[axis] for axis in axes])), dtype)
    total = ops.sum(x, axis=axes)  # [C]
    if group.count > 1:
        # Replicas may hold batches of different size, so the counts travel with the sums.
        summed = group.sum(ops.concatenate([total, ops.reshape(count, (1,))], axis=0))  # [C + 1]
        total, count = summed[:-1], ops.stop_gradient(summed[-1])
    mean = total / count
    # Two passes: the mean of squares less the square of the mean loses all digits where the mean is large.
    squares = group.sum(ops.sum(ops.square(x - mean), axis=axes))  # [C]
    return mean, squares / count, count
