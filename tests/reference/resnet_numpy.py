"""ResNet v1.5 in inference, in plain NumPy with every pad written out."""

import numpy as np


def padded(x, pads):
    return np.pad(x, ((0, 0), pads, pads, (0, 0)))


def windows(x, size, stride):
    """`[B, H, W, C] -> [B, h, w, C, size, size]`, no padding."""
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]


def convolution(x, kernel, stride, pads):
    return np.einsum("bhwcij,ijcf->bhwf", windows(padded(x, pads), len(kernel), stride), kernel)


def max_pool(x, size, stride, pads):
    x = np.pad(x, ((0, 0), pads, pads, (0, 0)), constant_values=-np.inf)
    return windows(x, size, stride).max(axis=(-2, -1))


def forward(x, weights, depths, pads):
    """Features of images.

    Args:
        x: standardised images `[B, H, W, C]`.
        weights: dict from Keras' paths to arrays.
        depths: blocks per group.
        pads: dict of 'stem', 'pool' and 'conv' to (before, after) of the strided layers.
    """

    def conv_norm(x, name, stride, pads):
        x = convolution(x, weights[f"{name}_conv/kernel"], stride, pads)
        gamma, beta, mean, variance = (
            weights[f"{name}_bn/{key}"] for key in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta

    def relu(x):
        return np.maximum(x, 0)

    x = max_pool(relu(conv_norm(x, "conv1", 2, pads["stem"])), 3, 2, pads["pool"])
    for group, depth in enumerate(depths):
        for index in range(depth):
            name = f"conv{group + 2}_block{index + 1}"
            stride = 2 if group > 0 and index == 0 else 1
            strided = (stride, pads["conv"] if stride == 2 else (1, 1))
            shortcut = conv_norm(x, f"{name}_0", stride, (0, 0)) if f"{name}_0_conv/kernel" in weights else x
            if f"{name}_3_conv/kernel" in weights:
                y = relu(conv_norm(x, f"{name}_1", 1, (0, 0)))
                y = relu(conv_norm(y, f"{name}_2", *strided))
                y = conv_norm(y, f"{name}_3", 1, (0, 0))
            else:
                y = relu(conv_norm(x, f"{name}_1", *strided))
                y = conv_norm(y, f"{name}_2", 1, (1, 1))
            x = relu(shortcut + y)
    return x.mean(axis=(1, 2))
