"""Whole steps of SimCLR in torch on a GPU, views by torchvision's transforms of tensors: see `accelerator`."""

import inputs
import torch
import torch_networks
import torchvision_beside_cpu  # noqa: F401
import torchvision_views
from lightly import loss as losses
from torchvision.transforms import v2

HIDDEN, WIDTH, TEMPERATURE, RATE = 512, 128, 0.5, 0.01


def step(encoder, size, side, batch, precision, steps, device, compiled, together):
    """So many updates; `together`: one draw makes the views of all images."""
    network = torch_networks.resnet(encoder, size)
    features = 2048 if encoder == "resnet50" else 512
    network = torch.nn.Sequential(network, torch_networks.projector(features, HIDDEN, WIDTH)).train()
    network = network.to(device, memory_format=torch.channels_last)
    host = torch.from_numpy(inputs.images(batch, side)).permute(0, 3, 1, 2).contiguous()
    host = host.pin_memory() if device == "cuda" else host
    make = v2.Compose([*torchvision_views.steps(v2, size), v2.ToDtype(torch.float32, scale=True)])
    criterion = losses.NTXentLoss(temperature=TEMPERATURE)
    weights = [each for each in network.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=RATE, momentum=0.9)
    forward = torch.compile(network) if compiled else network

    def views():
        images = host.to(device, non_blocking=True)
        return [make(images) if together else torch.stack([make(image) for image in images]) for _ in range(2)]

    def run():
        total = torch.zeros((), device=device)
        for _ in range(steps):
            images = torch.cat(views()).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
                a, b = forward(images).chunk(2)
            loss = criterion(a.float(), b.float())
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return total.item()

    def check(_):
        found = [torchvision_views.statistics(torch.cat(views())) for _ in range(8)]
        return [sum(each) / len(found) for each in zip(*found, strict=True)]

    return run, None if together else check
