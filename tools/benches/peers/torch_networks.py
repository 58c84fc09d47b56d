"""The networks of torchvision with the weights of `inputs`."""

import inputs
import torch
import torchvision_beside_cpu  # noqa: F401
from torchvision import models


def resnet(name, size):
    """An encoder `[B, 3, H, W] -> [B, F]`, of the small stem below 64 pixels."""
    small = size < 64
    network = getattr(models, name)(weights=None)
    network.fc = torch.nn.Identity()
    if small:
        network.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        network.maxpool = torch.nn.Identity()
    load(network, inputs.resnet(name, small))
    return network


def load(network, values):
    """Fills every weight; batch norm's counters are none."""
    state = {name: torch.from_numpy(value) for name, value in values.items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ValueError(f"torch_networks: expected the weights' names. Received: {missing} and {unexpected}.")


def head(name, features, made):
    """A head of lightly's with the weights of an `inputs.Head`; a batch norm that learns a scale has a fixed bias."""
    from lightly.models.modules import heads

    blocks, ins = [], features
    for number, width in enumerate(made.widths):
        if number < len(made.widths) - 1:
            blocks.append((ins, width, torch.nn.BatchNorm1d(width), torch.nn.ReLU(), made.bias))
        else:
            norm = made.final_norm and torch.nn.BatchNorm1d(width, affine=made.final_norm == "scale")
            blocks.append((ins, width, norm, None, made.final_bias))
        ins = width
    network = heads.ProjectionHead(blocks).layers
    load(network, inputs.head(name, features, made))
    if made.final_norm == "scale":
        network[-1].bias.requires_grad = False
    return network
