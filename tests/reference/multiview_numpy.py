"""The small ConvNet and its heads in training, in NumPy float64: queries, keys and patches of the methods."""

import numpy as np
from reference import batch_norm_numpy, memory_numpy, resnet_numpy


def weights_of(model):
    """Arrays by layer and name, such as `hidden1/kernel`."""
    return {"/".join(v.path.split("/")[-2:]): np.asarray(v, "float64") for v in model.variables}


def same(size, stride):
    """Rows before and after that a 3x3 convolution pads."""
    total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
    return total // 2, total - total // 2


def features(images, weights, groups):
    """Two stages of convolution, batch norm and ReLU, then the mean; `groups` groups of images in a row are normalized
    each by itself."""
    x = np.asarray(images, "float64")
    for stage in (1, 2):
        name = f"conv{stage}_1"
        x = resnet_numpy.convolution(x, weights[f"{name}_conv/kernel"], stage, same(x.shape[1], stage))
        gamma, beta = weights[f"{name}_bn/gamma"], weights[f"{name}_bn/beta"]
        parts = [batch_norm_numpy.forward(part, gamma, beta)[0] for part in np.split(x, groups)]
        x = np.maximum(np.concatenate(parts), 0)
    return x.mean(axis=(1, 2))


def dense(x, weights, name):
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def embeddings(images, weights, groups):
    """Unit vectors of images; the head is linear, or has one hidden layer."""
    hidden = features(images, weights, groups)
    if "hidden1/kernel" in weights:
        hidden = np.maximum(dense(hidden, weights, "hidden1"), 0)
    return memory_numpy.unit(dense(hidden, weights, "embedding"))


def shuffled_keys(images, weights, groups):
    """Shuffling BN: keys are dealt to as many groups, one from each group of queries in turn, and brought back."""
    size = len(images) // groups
    order = [part * size + member for member in range(size) for part in range(groups)]
    encoded = embeddings(np.asarray(images)[order], weights, groups)
    keys = np.empty_like(encoded)
    for place, image in enumerate(order):
        keys[image] = encoded[place]
    return keys


def jigsaw_head(patches, weights, depth):
    """PIRL's head: every patch through the same layers, side by side in their order, and one layer more."""
    rows = []
    for image in patches:
        done = []
        for patch in image:
            for layer in range(1, depth + 1):
                patch = dense(patch, weights, f"patch{layer}")
                if layer < depth:
                    patch = np.maximum(patch, 0)
            done.append(patch)
        rows.append(dense(np.concatenate(done), weights, "embedding"))
    return np.array(rows)


def patch_embeddings(patches, weights, head, groups):
    """Unit vectors of images cut into patches, which pass the encoder as a batch of their own."""
    count = patches.shape[1]
    flat = features(patches.reshape(-1, *patches.shape[2:]), weights, groups)
    return memory_numpy.unit(jigsaw_head(flat.reshape(len(patches), count, -1), head, 1))
