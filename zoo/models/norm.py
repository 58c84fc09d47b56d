"""Batch normalisation (Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167), the zoo's only one."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="zoo")
class BatchNorm(keras.layers.Layer):
    """Normalises every channel over all other axes, `[B, ..., C] -> [B, ..., C]`.

    Training uses the moments of the batch: of the global batch where a `tf.distribute` strategy has several replicas.
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
        replicas = _replicas() if training else None
        if _is_tensorflow() and replicas is None and dtype == "float32":
            # The kernel knows no float64.
            return self._fused(x, gamma, beta, training)
        if training:
            mean, variance, count = _moments(x, dtype, replicas)
            self._follow(mean, variance * count / ops.maximum(count - 1, 1))
        else:
            mean, variance = ops.cast(self.moving_mean, dtype), ops.cast(self.moving_variance, dtype)  # [C]
        factor = gamma * ops.rsqrt(variance + self.epsilon)  # [C]
        return ops.cast((ops.cast(x, dtype) - mean) * factor + beta, x.dtype)  # [B, ..., C]

    def _fused(self, x, gamma, beta, training):
        # The core is free of TensorFlow but for this file: one kernel for moments, normalisation and gradient makes a
        # ResNet-18 training step 1.2 times as fast on a CPU, and keras.ops does not offer it. Imported here, and only
        # where TensorFlow is the engine already, so that the other engines never load it.
        import tensorflow as tf

        rows = x if len(x.shape) == 4 else tf.reshape(x, (-1, 1, 1, self.channels))  # [B, H, W, C]
        none = tf.zeros((0,), tf.float32)
        moving = [tf.cast(tf.convert_to_tensor(v), tf.float32) for v in (self.moving_mean, self.moving_variance)]
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=rows,
            scale=gamma,
            offset=beta,
            mean=none if training else moving[0],
            variance=none if training else moving[1],
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            self._follow(mean, variance)
        return y if len(x.shape) == 4 else tf.reshape(y, tf.shape(x))  # [B, ..., C]

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


def _is_tensorflow():
    return keras.config.backend() == "tensorflow"


def _replicas():
    """The replica context of a `tf.distribute` strategy with several replicas, None elsewhere."""
    if not _is_tensorflow():
        return None
    import tensorflow as tf  # As above: TensorFlow alone can say on how many replicas it runs.

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def _moments(x, dtype, replicas):
    """Mean `[C]`, biased variance `[C]` and number of values per channel `[]`, over all replicas; differentiable."""
    x = ops.cast(x, dtype)
    axes = tuple(range(len(x.shape) - 1))
    count = ops.cast(ops.prod(ops.stack([ops.shape(x)[axis] for axis in axes])), dtype)
    total = ops.sum(x, axis=axes)  # [C]
    if replicas is not None:
        # Replicas may hold batches of different size, so the counts travel with the sums.
        summed = _sum(replicas, ops.concatenate([total, ops.reshape(count, (1,))], axis=0))  # [C + 1]
        total, count = summed[:-1], ops.stop_gradient(summed[-1])
    mean = total / count
    # Two passes: the mean of squares less the square of the mean loses all digits where the mean is large.
    squares = ops.sum(ops.square(x - mean), axis=axes)  # [C]
    if replicas is not None:
        squares = _sum(replicas, squares)
    return mean, squares / count, count


def _sum(replicas, value):
    return replicas.all_reduce("SUM", value)
