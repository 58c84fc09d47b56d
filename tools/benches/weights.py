"""Puts the weights of `peers.inputs` into the zoo's networks, so that both sides compute the same."""

import re

import numpy as np

from zoo.tools.benches.peers import inputs

# Names of variables in the zoo and in torch.
_PARTS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _torch_name(layer):
    """Returns torchvision's name of a layer: `conv3_block1_2_bn` becomes `layer2.0.bn2`."""
    found = re.fullmatch(r"conv(\d)_block(\d)_(\d)_(conv|bn)", layer)
    if not found:
        return {"conv1_conv": "conv1", "conv1_bn": "bn1"}[layer]
    group, block, number, kind = found.groups()
    place = f"layer{int(group) - 1}.{int(block) - 1}"
    if number == "0":
        return f"{place}.downsample.{0 if kind == 'conv' else 1}"
    return f"{place}.{kind}{number}"


def _fill(network, values, name_of):
    for layer in network.layers:
        for variable in layer.weights:
            value = values[f"{name_of(layer.name)}.{_PARTS[variable.name]}"]
            value = np.transpose(value, (2, 3, 1, 0)) if value.ndim == 4 else value.T
            variable.assign(value)


def fill_resnet(network, name, small):
    """Sets the weights of a ResNet of the zoo, by name."""
    _fill(network, inputs.resnet(name, small), _torch_name)


def fill_head(network, name, features, made):
    """Sets the weights of a head of `zoo.models.heads` to those of an `inputs.Head` of that name."""
    dense = [layer.name for layer in network.layers if hasattr(layer, "kernel")]
    places = {layer: str(3 * number) for number, layer in enumerate(dense)}
    places |= {f"{layer}_bn": str(3 * number + 1) for number, layer in enumerate(dense)}
    _fill(network, inputs.head(name, features, made), places.get)


def resnet(name, size):
    """Returns an encoder of the zoo with these weights and torchvision's padding; the stem is small below 64 pixels."""
    from zoo.models import resnet

    small = size < 64
    shape = (size, size, 3)
    network = getattr(resnet, name)(image_shape=shape, stem="small" if small else "imagenet", padding="torch")
    fill_resnet(network, name, small)
    return network
