"""Entering rows into a queue and a bank of torch's: see `memories`."""

import inputs
import torch

WIDTH = 128


def queue(rows, batch):
    """The oldest rows are replaced."""
    store, values = torch.from_numpy(inputs.unit(rows, WIDTH)), torch.from_numpy(inputs.unit(batch, WIDTH, 1))
    place = [0]

    def run():
        store[place[0] : place[0] + batch] = values
        place[0] = (place[0] + batch) % rows

    return run, None


def bank(rows, batch):
    """Rows are mixed with their old selves, normalized and written back, as in lightly's and PyContrast's code."""
    store, values = torch.from_numpy(inputs.unit(rows, WIDTH)), torch.from_numpy(inputs.unit(batch, WIDTH, 1))
    batches = [torch.randperm(rows)[:batch] for _ in range(64)]
    turn = iter(range(2**62))

    def run():
        ids = batches[next(turn) % len(batches)]
        mixed = 0.5 * store.index_select(0, ids) + 0.5 * values
        store.index_copy_(0, ids, torch.nn.functional.normalize(mixed, dim=1))

    return run, None
