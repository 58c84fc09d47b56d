"""SimCLR's views by torchvision, image by image, two views each: see `views`."""

import inputs
import torch
import torchvision_beside_cpu  # noqa: F401
from PIL import Image
from torchvision import transforms
from torchvision.transforms import v2


def statistics(views):
    """Mean, contrast and colorfulness of views, `[n, 3, H, W]` in [0, 1]."""
    return [views.mean().item(), views.std(dim=(2, 3), correction=0).mean().item(),
            views.std(dim=1, correction=0).mean().item()]  # fmt: skip


def averaged(run):
    """Means of the statistics of what several runs return, as the draws of one are too few to compare."""
    found = [statistics(run()) for _ in range(8)]
    return [sum(each) / len(found) for each in zip(*found, strict=True)]


def _made(images, make):
    """What is returned for images and a function of one: two views each, and statistics as means over several runs."""

    def run():
        return torch.stack([make(image) for image in images for _ in range(2)])

    return run, lambda _: averaged(run)


def steps(kit, size):
    """SimCLR's recipe, of either version of the transforms."""
    blur = kit.GaussianBlur(size // 20 * 2 + 1, (0.1, 2.0))
    return [
        kit.RandomResizedCrop(size, (0.08, 1.0), interpolation=transforms.InterpolationMode.BICUBIC, antialias=True),
        kit.RandomHorizontalFlip(),
        kit.RandomApply([kit.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
        kit.RandomGrayscale(0.2),
        kit.RandomApply([blur], 0.5),
    ]


def pil(size, batch, side):
    """Version 1 on Pillow's images, as the field has used it; then floats."""
    torch.set_num_threads(1)
    images = [Image.fromarray(image) for image in inputs.images(batch, side)]
    make = transforms.Compose([*steps(transforms, size), transforms.ToTensor()])
    return _made(images, make)


def tensors(size, batch, side):
    """Version 2 on uint8 tensors; then floats."""
    torch.set_num_threads(1)
    images = list(torch.from_numpy(inputs.images(batch, side)).permute(0, 3, 1, 2).contiguous())
    make = v2.Compose([*steps(v2, size), v2.ToDtype(torch.float32, scale=True)])
    return _made(images, make)
