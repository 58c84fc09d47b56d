"""Randomness as a value: numbers such as an epoch are folded into a seed, then random numbers are drawn from it.

The generator is Threefry-2x32 with 20 rounds (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"). It
is based on a counter: a draw is a pure function of its seed, there is no state to save, and a draw is the same on every
device and engine.
"""

import dataclasses
import functools
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from keras import ops

from zoo import checks, engine

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
# The second word of the counter keeps folding and drawing apart: no draw can repeat a folded key.
_FOLD, _DRAW = 0, 1


def threefry(key: tuple[Any, Any], counter: tuple[Any, Any], xp: ModuleType) -> tuple[Any, Any]:
    """Encrypts two words of a counter with two words of a key.

    Args:
        key: pair of uint32 arrays.
        counter: pair of uint32 arrays that broadcast against the key.
        xp: module that computes, `numpy` or `keras.ops`.

    Returns:
        Pair of uint32 arrays, the encrypted words.
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
def _encryption() -> Any:
    return engine.current().node(lambda key, counter: threefry(key, counter, ops))


def _encrypted(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    return _encryption()(key, counter)


@dataclasses.dataclass(frozen=True)
class Seed:
    """A seed, or a batch of B seeds, from which random numbers are drawn.

    Fold in everything that a draw should depend on (run, epoch, id of the image, view), then draw. Folding integers of
    shape `[B]` makes a batch of seeds, whose draws have a leading axis B:

        Seed(run).fold(epoch).fold(ids).uniform((2,))  # float32 [B, 2]

    Args:
        value: the seed of the run, an integer in [0, 2**64).
        key: two words of the generator's key, uint32 tensors `[]` or `[B]`; made from `value` by default.
    """

    value: int = 0
    key: Any = None

    def __post_init__(self):
        if self.key is None:
            checks.require(is_seed(self.value), "Seed", "an integer in [0, 2**64)", value=self.value)
            words = (np.uint32(self.value >> 32), np.uint32(self.value & 0xFFFFFFFF))
            object.__setattr__(self, "key", words)

    def fold(self, data: Any) -> "Seed":
        """Returns a seed that also depends on `data`, an int or integers of shape `[]` or `[B]`."""
        data = ops.cast(ops.convert_to_tensor(data), "uint32")
        key = tuple(ops.convert_to_tensor(word, dtype="uint32") for word in self.key)
        return Seed(self.value, _encrypted(key, (data, ops.full_like(data, _FOLD))))

    def bits(self, count: int) -> Any:
        """Returns `count` random words of 32 bits for each seed, uint32 `[count]` or `[B, count]`."""
        key = tuple(ops.convert_to_tensor(word, dtype="uint32")[..., None] for word in self.key)
        pairs = (count + 1) // 2
        counter = ops.convert_to_tensor(np.arange(pairs, dtype=np.uint32))
        x, y = _encrypted(key, (counter, ops.full_like(counter, _DRAW)))
        return ops.concatenate([x, y], axis=-1)[..., :count]

    def uniform(self, shape: Sequence[int] = (), low: Any = 0.0, high: Any = 1.0) -> Any:
        """Returns uniform draws in [low, high), float32 of `shape`, or `[B, *shape]` for a batch of seeds."""
        count = int(np.prod(shape, dtype=int))
        # A float32 in [0, 1) holds 24 bits exactly.
        unit = ops.cast(ops.right_shift(self.bits(count), np.uint32(8)), "float32") * np.float32(2.0**-24)
        batch = tuple(ops.shape(self.key[0])) if len(np.shape(self.key[0])) else ()
        return low + (high - low) * ops.reshape(unit, (*batch, *shape))

    def bernoulli(self, probability: Any, shape: Sequence[int] = ()) -> Any:
        """Returns draws that are true with `probability`, bool of `shape`, or `[B, *shape]` for a batch of seeds."""
        return self.uniform(shape) < probability

    def permutation(self, count: int) -> Any:
        """Returns a random permutation of `range(count)`, int32 `[count]`, or `[B, count]` for a batch of seeds."""
        return ops.cast(ops.argsort(self.uniform((count,)), axis=-1), "int32")


def is_seed(value: Any) -> bool:
    """Returns whether `value` is an integer in [0, 2**64), not a bool."""
    return checks.is_integer(value, least=0) and value < 2**64


def shuffled(count: int, *folds: int) -> np.ndarray:
    """Returns a permutation of `range(count)`, computed by NumPy: the order in which an epoch visits its images.

    Args:
        count: length of the permutation.
        *folds: integers that it depends on, such as the seed of the run and the epoch.

    Returns:
        int64 `[count]`.
    """
    key = (np.uint32(0), np.uint32(0))
    with np.errstate(over="ignore"):
        for fold in folds:
            low, high = np.uint32(fold & 0xFFFFFFFF), np.uint32(fold >> 32)
            key = threefry(key, (low, high), np)
        index = np.arange(count, dtype=np.uint32)
        x, y = threefry(key, (index, np.full_like(index, _DRAW)), np)
    return np.argsort(x.astype(np.uint64) << np.uint64(32) | y, kind="stable")
