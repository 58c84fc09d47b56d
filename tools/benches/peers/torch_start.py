"""The first step of a small MoCo v2 run in torch with lightly and torchvision, in a fresh process: see `start`."""

import copy

import numpy as np
import torch
import torchvision_beside_cpu  # noqa: F401, first
from lightly import loss as losses
from lightly.models import utils
from torchvision.transforms import v2

SIDE, BATCH, WIDTHS, QUEUE = 28, 128, (32, 64, 128, 256), 4096


def network():
    """A ConvNet with MoCo's head."""
    layers, channels = [], 1
    for stage, width in enumerate(WIDTHS):
        stride = 2 if stage else 1
        layers += [torch.nn.Conv2d(channels, width, 3, stride, 1, bias=False), torch.nn.BatchNorm2d(width)]
        layers += [torch.nn.ReLU()]
        channels = width
    head = [torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 128)]
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), *head)


def main():
    """Trains one step."""
    views = v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, (0.2, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(17, (0.1, 2.0))], 0.5),
        ]
    )
    images = np.random.default_rng(0).integers(0, 256, (10_000, 1, SIDE, SIDE), dtype=np.uint8)
    batch = torch.from_numpy(images[:BATCH]).float() / 255
    query, key = network(), network()
    key = copy.deepcopy(query)
    utils.deactivate_requires_grad(key)
    criterion = losses.NTXentLoss(0.2, memory_bank_size=(QUEUE, 128))
    optimizer = torch.optim.SGD(query.parameters(), 0.01, momentum=0.9)
    first, second = (torch.stack([views(image) for image in batch]) for _ in range(2))
    utils.update_momentum(query, key, 0.99)
    order = torch.randperm(BATCH)
    with torch.no_grad():
        keys = key(second[order])[order.argsort()]
    loss = criterion(query(first), keys)
    loss.backward()
    optimizer.step()
    print(loss.item())


if __name__ == "__main__":
    main()
