"""A training step of SimCLR in torch with lightly's loss: see `training`."""

import contextlib

import inputs
import torch
import torch_networks
from lightly import loss as losses

HIDDEN, WIDTH, TEMPERATURE, RATE = 512, 128, 0.5, 0.01


def learner(encoder, size, device, order):
    """Network with its head, in that memory format; loss; and optimizer."""
    network = torch_networks.resnet(encoder, size)
    features = 2048 if encoder == "resnet50" else 512
    network = torch.nn.Sequential(network, torch_networks.projector(features, HIDDEN, WIDTH)).train()
    network = network.to(device, memory_format=order)
    weights = [each for each in network.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=RATE, momentum=0.9)
    return network, losses.NTXentLoss(temperature=TEMPERATURE), optimizer


def step(encoder, size, batch, precision, compiled, channels_last, passes):
    """One update; both views pass the network together, or one after the other, each with statistics of its own."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    network, criterion, optimizer = learner(encoder, size, "cpu", order)
    images = torch.from_numpy(inputs.images(batch, size)).permute(0, 3, 1, 2)
    forward = torch.compile(network) if compiled else network

    def loss_of(forward, passes):
        first = images.float().div(255)
        first, second = (each.contiguous(memory_format=order) for each in (first, first.flip(3)))
        if precision == "bfloat16":
            lower = torch.autocast("cpu", dtype=torch.bfloat16)
        else:
            lower = contextlib.nullcontext()
        with lower:
            if passes == 2:
                a, b = forward(first), forward(second)
            else:
                a, b = forward(torch.cat([first, second])).chunk(2)
        return criterion(a.float(), b.float())

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(forward, passes)
        loss.backward()
        optimizer.step()
        return loss.item()

    if passes == 1:
        return run, lambda loss: [loss]
    # With statistics per view the loss is another: the networks are compared by what they make of both together.
    with torch.no_grad():
        together = loss_of(network, 1).item()
    return run, lambda loss: [together]
