"""Whole steps of SimCLR in torch on a GPU, views by torchvision's transforms of tensors: see `accelerator`."""

import inputs
import torch
import torch_methods
import torchvision_beside_cpu  # noqa: F401
import torchvision_views
from torchvision.transforms import v2


def step(encoder, size, side, batch, precision, steps, device, compiled, together):
    """So many updates; `together`: one draw makes the views of all images."""
    made = torch_methods.SimCLR("simclr", encoder, size, device, torch.channels_last, compiled)
    optimizer = made.optimizer()
    host = torch.from_numpy(inputs.images(batch, side)).permute(0, 3, 1, 2).contiguous()
    host = host.pin_memory() if device == "cuda" else host
    make = v2.Compose([*torchvision_views.steps(v2, size), v2.ToDtype(torch.float32, scale=True)])

    def views():
        images = host.to(device, non_blocking=True)
        return [make(images) if together else torch.stack([make(image) for image in images]) for _ in range(2)]

    def run():
        total = torch.zeros((), device=device)
        for _ in range(steps):
            images = torch.cat(views()).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
                a, b = made.forward(images).chunk(2)
            loss = made.criterion(a.float(), b.float())
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return total.item()

    return run, None if together else lambda _: torchvision_views.averaged(lambda: torch.cat(views()))
