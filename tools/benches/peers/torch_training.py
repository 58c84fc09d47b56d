"""Training steps in torch, of methods made of lightly's parts: see `training`."""

import contextlib
import functools

import inputs
import torch
import torch_methods


def step(method, encoder, size, batch, precision, compiled, channels_last, passes):
    """One update; both views pass the network together, or one after the other, each with statistics of its own."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    kind = torch_methods.METHODS[method]
    made = kind(method, encoder, size, "cpu", order, compiled, passes)
    optimizer = made.optimizer()
    images = torch.from_numpy(inputs.images(batch, size)).permute(0, 3, 1, 2)
    lower = contextlib.nullcontext
    if precision == "bfloat16":
        lower = functools.partial(torch.autocast, "cpu", dtype=torch.bfloat16)

    def run():
        first = images.float().div(255)
        first, second = (view.contiguous(memory_format=order) for view in (first, first.flip(3)))
        optimizer.zero_grad(set_to_none=True)
        loss = made.loss(first, second, lower)
        loss.backward()
        optimizer.step()
        made.updated()
        return loss.item()

    if passes == kind.default_passes:
        return run, lambda loss: [loss, run()]

    # With statistics of other batches the loss is another: compared is the method, in its own number of passes.
    def check(loss):
        del loss
        same, _ = step(method, encoder, size, batch, precision, False, channels_last, kind.default_passes)
        return [same(), same()]

    return run, check
