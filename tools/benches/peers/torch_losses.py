"""Contrastive losses in torch and in lightly: see `losses`."""

import inputs
import torch
import torchvision_beside_cpu  # noqa: F401

WIDTH, TEMPERATURE = 128, 0.1


def _check(found):
    value, pairs = found
    along = [gradient - (gradient * leaf).sum(dim=1, keepdim=True) * leaf for leaf, gradient in pairs]
    return [value, *(each.norm().item() * 1e2 for each in along)]


def _leaves(pairs):
    return [torch.from_numpy(each).requires_grad_() for each in inputs.pairs(pairs, WIDTH)]


def _backward(loss, leaves):
    for leaf in leaves:
        leaf.grad = None
    loss.backward()
    return loss.item(), [(leaf.detach(), leaf.grad) for leaf in leaves]


def naive(pairs):
    """All against all in one matrix, as it is commonly written."""
    a, b = _leaves(pairs)
    positive = torch.cat([torch.arange(pairs, 2 * pairs), torch.arange(pairs)])

    def run():
        both = torch.cat([a, b])
        logits = both @ both.T / TEMPERATURE
        logits.fill_diagonal_(-1e9)
        return _backward(torch.nn.functional.cross_entropy(logits, positive), (a, b))

    return run, _check


def lightly(pairs):
    """Lightly's NT-Xent."""
    from lightly import loss

    a, b = _leaves(pairs)
    criterion = loss.NTXentLoss(temperature=TEMPERATURE)
    return lambda: _backward(criterion(a, b), (a, b)), _check


def queue(size, batch):
    """As in MoCo's published code: one matrix of logits, cross-entropy, keys that are written into the queue."""
    query, key = (torch.from_numpy(each) for each in inputs.pairs(batch, WIDTH))
    query.requires_grad_()
    store, place = torch.from_numpy(inputs.unit(size, WIDTH, seed=5)).T.contiguous(), [0]
    labels = torch.zeros(batch, dtype=torch.long)

    def run():
        positive = torch.einsum("nc,nc->n", query, key)[:, None]
        negative = torch.einsum("nc,ck->nk", query, store.clone().detach())
        loss = torch.nn.functional.cross_entropy(torch.cat([positive, negative], dim=1) / TEMPERATURE, labels)
        found = _backward(loss, (query,))
        with torch.no_grad():
            store[:, place[0] : place[0] + batch] = key.T
        place[0] = (place[0] + batch) % size
        return found

    return run, _check


def lightly_queue(size, batch):
    """Lightly's NT-Xent with its memory bank."""
    from lightly import loss

    query, key = (torch.from_numpy(each) for each in inputs.pairs(batch, WIDTH))
    query.requires_grad_()
    criterion = loss.NTXentLoss(temperature=TEMPERATURE, memory_bank_size=(size, WIDTH))
    criterion.memory_bank.bank.copy_(torch.from_numpy(inputs.unit(size, WIDTH, seed=5)))
    return lambda: _backward(criterion(query, key), (query,)), _check
