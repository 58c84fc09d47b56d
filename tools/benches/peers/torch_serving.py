"""Features by torch: see `serving`."""

import inputs
import numpy as np
import torch
import torch_networks


def _checked(features):
    features = features.numpy()
    return [*features[0, :4], features.mean(), np.linalg.norm(features) / len(features)]


def _given(encoder, size, batch):
    network = torch_networks.resnet(encoder, size).eval().to(memory_format=torch.channels_last)
    images = torch.from_numpy(inputs.images(batch, size).astype("float32") / 255).permute(0, 3, 1, 2)
    return network, images.contiguous(memory_format=torch.channels_last)


def eager(encoder, size, batch):
    """The network, called without gradients."""
    network, images = _given(encoder, size, batch)

    def run():
        with torch.inference_mode():
            return network(images)

    return run, _checked


def jit(encoder, size, batch):
    """Traced, frozen and optimized."""
    network, images = _given(encoder, size, batch)
    with torch.inference_mode():
        traced = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(network, images)))

    def run():
        with torch.inference_mode():
            return traced(images)

    return run, _checked
