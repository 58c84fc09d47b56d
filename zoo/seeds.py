"""Randomness as a value: a seed is folded with what a draw may depend on, then drawn from.

Threefry-2x32 with 20 rounds (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"): counter-based, so
that a draw is a pure function of its seed, needs no state to save, and is the same on every device and engine.
"""

import dataclasses
import functools

import numpy as np
from keras import ops

from zoo import engine

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
# The second counter word keeps folding and drawing apart: no draw can repeat a folded key.
_FOLD, _DRAW = 0, 1


def threefry(key, counter, xp):
    """Encrypts two counter words under two key words.

    Args:
        key: pair of uint32 arrays.
        counter: pair of uint32 arrays that broadcast against the key.
        xp: the namespace that computes, `numpy` or `keras.ops`.

    Returns:
        Pair of uint32 arrays.
    """
    word = np.uint32  # NumPy's constants are faster to trace than tensors
    parity = xp.bitwise_xor(xp.bitwise_xor(key[0], key[1]), word(_PARITY))
    keys = (key[0], key[1], parity)
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for turn in _ROTATIONS[group % 2]:
            x = x + y
            y = xp.bitwise_or(xp.left_shift(y, word(turn)), xp.right_shift(y, word(32 - turn)))
            y = xp.bitwise_xor(x, y)
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + word(group + 1)
    return x, y


@functools.cache
def _encryption():
    return engine.current().node(lambda key, counter: threefry(key, counter, ops))


def _encrypted(key, counter):
    return _encryption()(key, counter)


@dataclasses.dataclass(frozen=True)
class Seed:
    """A seed, or a batch of them: one per example.

    Fold in everything that a draw should depend on (run, epoch, example id, view), then draw. Folding a vector `[B]`
    makes a batch of seeds, from which every draw has a leading axis `B`.

    Args:
        value: the run's seed, an integer in [0, 2**64).
        key: pair of uint32 tensors; made from `value` by default.
    """

    value: int = 0
    key: tuple = None

    def __post_init__(self):
        if self.key is None:
            if isinstance(self.value, bool) or not isinstance(self.value, int) or not 0 <= self.value < 2**64:
                raise ValueError(f"Seed: expected an integer in [0, 2**64). Received: value={self.value!r}.")
            words = (np.uint32(self.value >> 32), np.uint32(self.value & 0xFFFFFFFF))
            object.__setattr__(self, "key", words)

    def fold(self, data):
        """The seed that depends on `data` too: an int, or integers of shape `[]` or `[B]`."""
        data = ops.cast(ops.convert_to_tensor(data), "uint32")
        key = tuple(ops.convert_to_tensor(word, dtype="uint32") for word in self.key)
        return Seed(self.value, _encrypted(key, (data, ops.full_like(data, _FOLD))))

    def bits(self, count):
        """`count` random words per seed, uint32 `[..., count]`."""
        key = tuple(ops.convert_to_tensor(word, dtype="uint32")[..., None] for word in self.key)
        pairs = (count + 1) // 2
        counter = ops.convert_to_tensor(np.arange(pairs, dtype=np.uint32))
        x, y = _encrypted(key, (counter, ops.full_like(counter, _DRAW)))
        return ops.concatenate([x, y], axis=-1)[..., :count]

    def uniform(self, shape=(), low=0.0, high=1.0):
        """Uniform draws in [low, high), float32 `[B, *shape]` (`shape` alone for a single seed)."""
        count = int(np.prod(shape, dtype=int))
        # 24 bits are what a float32 in [0, 1) holds exactly.
        unit = ops.cast(ops.right_shift(self.bits(count), np.uint32(8)), "float32") * np.float32(2.0**-24)
        batch = tuple(ops.shape(self.key[0])) if len(np.shape(self.key[0])) else ()
        return low + (high - low) * ops.reshape(unit, (*batch, *shape))

    def bernoulli(self, probability, shape=()):
        """True with `probability`, bool `[B, *shape]`."""
        return self.uniform(shape) < probability

    def permutation(self, count):
        """A random order of `count` things, int32 `[B, count]`."""
        return ops.cast(ops.argsort(self.uniform((count,)), axis=-1), "int32")


def shuffled(count, *folds):
    """A permutation of `range(count)` that depends on the integers in `folds`, NumPy int64 `[count]`.

    Computed on the host, for the order in which an epoch visits its examples.
    """
    key = (np.uint32(0), np.uint32(0))
    with np.errstate(over="ignore"):
        for fold in folds:
            low, high = np.uint32(fold & 0xFFFFFFFF), np.uint32(fold >> 32)
            key = threefry(key, (low, high), np)
        index = np.arange(count, dtype=np.uint32)
        x, y = threefry(key, (index, np.full_like(index, _DRAW)), np)
    return np.argsort(x.astype(np.uint64) << np.uint64(32) | y, kind="stable")
