"""MoCo, InsDis and CMC in NumPy float64, written from the papers: a step of the queue, of the bank, of the losses."""

import numpy as np


def unit(z):
    """Rows divided by their length."""
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def info_nce(query, positive, negatives, temperature, allowed=None):
    """MoCo, Eq. 1, an image at a time; negatives `[B, K, D]` or `[K, D]`."""
    losses = []
    for b in range(len(query)):
        others = negatives if negatives.ndim == 2 else negatives[b]
        if allowed is not None:
            others = others[allowed[b]]
        right = np.exp(query[b] @ positive[b] / temperature)
        wrong = np.exp(others @ query[b] / temperature).sum()
        losses.append(-np.log(right / (right + wrong)))
    return np.array(losses)


def nce(query, positive, negatives, temperature, normalizer, population, allowed=None):
    """Wu et al. (2018), Eqs. 4 to 7, an image at a time."""
    losses = []
    for b in range(len(query)):
        others = negatives if negatives.ndim == 2 else negatives[b]
        noise = len(others) / population

        def h(v, b=b, noise=noise):
            p = np.exp(v @ query[b] / temperature) / normalizer
            return p / (p + noise)

        kept = range(len(others)) if allowed is None else np.flatnonzero(allowed[b])
        losses.append(-np.log(h(positive[b])) - sum(np.log(1 - h(others[k])) for k in kept))
    return np.array(losses)


class Queue:
    """A list of keys and of their images; the oldest leave first."""

    def __init__(self, keys):
        self.keys, self.ids, self.pointer = keys.copy(), np.full(len(keys), -1), 0

    def push(self, keys, ids):
        for key, one in zip(keys, ids, strict=True):
            self.keys[self.pointer], self.ids[self.pointer] = key, one
            self.pointer = (self.pointer + 1) % len(self.keys)


def bank_update(bank, ids, features, momentum):
    """The bank after the features of the images `ids` were seen."""
    bank = bank.copy()
    for one, feature in zip(ids, features, strict=True):
        mixed = momentum * bank[one] + (1 - momentum) * feature
        bank[one] = mixed / np.linalg.norm(mixed)
    return bank
