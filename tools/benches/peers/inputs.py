"""Inputs of all candidates: images, embeddings, features, settings, and weights of networks by torch's names."""

import typing
import zlib

import numpy as np


class Head(typing.NamedTuple):
    """A head of dense layers, with batch norm and ReLU between them.

    Args:
        widths: units of every layer.
        bias: whether the layers before the last have a bias.
        final_bias: whether the last layer has a bias.
        final_norm: what the batch norm after the last layer learns: "scale" or "nothing"; None for no batch norm.
    """

    widths: tuple
    bias: bool = False
    final_bias: bool = False
    final_norm: str | None = None


# Method -> its heads: SimCLR's for small images, the others' as in their papers.
HEADS = {
    "simclr": {"projector": Head((512, 128), final_norm="scale")},
    "swav": {"projector": Head((2048, 128), bias=True, final_bias=True)},
    "byol": {"projector": Head((4096, 256)), "predictor": Head((4096, 256))},
    "simsiam": {
        "projector": Head((2048, 2048, 2048), final_norm="nothing"),
        "predictor": Head((512, 2048), final_bias=True),
    },
    "moco_v3": {
        "projector": Head((4096, 256), final_norm="nothing"),
        "predictor": Head((4096, 256), final_norm="nothing"),
    },
}
TEMPERATURES = {"simclr": 0.5, "swav": 0.1, "moco_v3": 1.0}
MOMENTA = {"byol": 0.996, "moco_v3": 0.99}  # of the target's average, at the start
PROTOTYPES, EPSILON, ITERATIONS = 3000, 0.05, 3  # of SwAV
RATE, MOMENTUM = 0.01, 0.9  # of the optimizer

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


def images(count, size, seed=0):
    """Pictures with edges, shades and noise, uint8 `[B, H, W, 3]`."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, 256, (count, 4, 4, 3)).astype("float32")
    shades = np.repeat(np.repeat(corners, -(-size // 4), axis=1), -(-size // 4), axis=2)[:, :size, :size]
    return np.clip(shades + random.normal(0, 12, shades.shape), 0, 255).astype("uint8")


def unit(count, width, seed=0):
    """Random unit vectors, float32 `[count, width]`."""
    rows = np.random.default_rng(seed).standard_normal((count, width), "float32")
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pairs(count, width, seed=0):
    """Two views' embeddings, unit vectors `[count, width]` each: the second is the first and as much noise."""
    first, noise = unit(count, width, seed), unit(count, width, seed + 1)
    both = first + noise
    return first, both / np.linalg.norm(both, axis=1, keepdims=True)


def features(count, width, classes, seed=0, noise=2.5):
    """Features and labels, float32 `[count, width]` and int64 `[count]`: class centers in noise of falling variance."""
    centers = np.random.default_rng(7).standard_normal((classes, width), "float32")
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    spectrum = (noise * np.sqrt(width) / np.arange(1, width + 1) ** 0.5).astype("float32")
    return centers[labels] + spectrum * random.standard_normal((count, width), "float32"), labels


def convolutions(name, small):
    """The convolutions of a ResNet in torch's names: name -> (name of its batch norm, shape `[out, in, h, w]`)."""
    bottleneck, found = name == "resnet50", {}
    found["conv1"] = ("bn1", (64, 3, *((3, 3) if small else (7, 7))))
    inputs = 64
    for group, depth in enumerate(DEPTHS[name]):
        width = 64 * 2**group
        outputs = 4 * width if bottleneck else width
        for index in range(depth):
            place = f"layer{group + 1}.{index}"
            sides = (1, 3, 1) if bottleneck else (3, 3)
            widths = [inputs, *[width] * (len(sides) - 1), outputs]
            for number, side in enumerate(sides):
                shape = (widths[number + 1], widths[number], side, side)
                found[f"{place}.conv{number + 1}"] = (f"{place}.bn{number + 1}", shape)
            if index == 0 and (group or bottleneck):
                found[f"{place}.downsample.0"] = (f"{place}.downsample.1", (outputs, inputs, 1, 1))
            inputs = outputs
    return found


def _random(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def kernel(name, shape):
    """A weight by its name: variance 2 / fan-in, in torch's layout."""
    return _random(name).standard_normal(shape, "float32") * np.float32(np.sqrt(2 / np.prod(shape[1:])))


def normalization(name, width):
    """Weight, bias and moving statistics of a batch norm by its name."""
    random = _random(name)
    last = name.endswith("bn2") or name.endswith("bn3")  # small at the end of a block, for maps to keep their size
    return {
        "weight": random.uniform(0.8, 1.2, width).astype("float32") * np.float32(0.3 if last else 1),
        "bias": random.normal(0, 0.1, width).astype("float32"),
        "running_mean": random.normal(0, 0.1, width).astype("float32"),
        "running_var": random.uniform(0.5, 1.5, width).astype("float32"),
    }


def resnet(name, small):
    """All weights of a ResNet in torch's names and layout."""
    found = {}
    for place, (norm, shape) in convolutions(name, small).items():
        found[f"{place}.weight"] = kernel(place, shape)
        found |= {f"{norm}.{part}": value for part, value in normalization(norm, shape[0]).items()}
    return found


def head(name, features, made):
    """All weights of a `Head` of that name, as torch's `Sequential` of dense layer, batch norm and ReLU names them."""
    found, ins = {}, features
    for number, width in enumerate(made.widths):
        last = number == len(made.widths) - 1
        dense, norm = 3 * number, 3 * number + 1
        found[f"{dense}.weight"] = kernel(f"{name}{dense}", (width, ins))
        if made.final_bias if last else made.bias:
            found[f"{dense}.bias"] = _random(f"{name}{dense}.bias").normal(0, 0.1, width).astype("float32")
        if not last or made.final_norm:
            parts = normalization(f"{name}{norm}", width)
            if last:
                parts["bias"] *= 0
            if last and made.final_norm == "nothing":
                del parts["weight"], parts["bias"]
            found |= {f"{norm}.{part}": value for part, value in parts.items()}
        ins = width
    return found


def prototypes(width):
    """SwAV's prototypes, unit vectors `[K, width]`."""
    return unit(PROTOTYPES, width, seed=11)


def scores(batch):
    """Similarities of two views' embeddings and SwAV's prototypes, two of `[batch, K]`."""
    return [rows @ prototypes(128).T for rows in pairs(batch, 128)]


def assigned(*codes):
    """Measures that tell assignments `[batch, K]` apart: their entropy, and how they spread over the prototypes."""
    entropies = [-(view * np.log(np.maximum(view, 1e-30))).sum(axis=1).mean() for view in codes]
    return [*entropies, *(view.sum(axis=0).std() for view in codes)]


def clustered(count, width, classes=100):
    """Embeddings that have clusters, unit vectors `[count, width]`."""
    rows, _ = features(count, width, classes, noise=0.5)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def spread(rows, centers, cluster):
    """Mean squared distance of rows to the centers of their clusters."""
    return np.square(rows - centers[cluster]).sum(axis=1).mean()
