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


def projector(features, hidden, width):
    """SimCLR's head; the last batch norm has a bias of zeros, which is not trained."""
    head = torch.nn.Sequential(
        torch.nn.Linear(features, hidden, bias=False),
        torch.nn.BatchNorm1d(hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, width, bias=False),
        torch.nn.BatchNorm1d(width),
    )
    load(head, inputs.projector(features, hidden, width))
    head[4].bias.requires_grad = False
    return head
