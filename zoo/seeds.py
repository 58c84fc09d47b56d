"""Random numbers as pure functions of a seed, into which everything is folded that they may depend on.

The generator is Threefry-2x32 with 20 rounds (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"). As
it is counter-based, there is no state to save, and draws are the same on every device and engine.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from keras import ops

from zoo import checks, engine

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
# The second counter word keeps folding and drawing apart: no draw can repeat a folded key.
_FOLD, _DRAW = 0, 1


def threefry(key: tuple[Any, Any], counter: tuple[Any, Any], xp: Any) -> tuple[Any, Any]:
    """Encrypts two words of a counter with two words of a key.

    Args:
        key: pair of uint32 arrays.
        counter: pair of uint32 arrays that broadcast against the key.
        xp: module that computes, `numpy` or `keras.ops`.

    Returns:
        Pair of uint32 arrays.
    """
    word = np.uint32  # constants of NumPy are faster to trace than tensors
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
    """A seed, or a batch of seeds with one per example.

    Fold in everything that a draw should depend on, such as epoch, example and view, then draw. Folding in a vector
    `[B]` makes a batch of seeds, whose draws have a leading axis B:
    `Seed(0).fold(epoch).fold(ids).uniform((3,))` has the shape `[B, 3]`.

    Args:
        value: seed of the run, an integer in [0, 2**64).
        key: pair of uint32 tensors; by default the two words of `value`.
    """

    value: int = 0
    key: Any = None

    def __post_init__(self):
        if self.key is None:
            is_valid = checks.is_integer(self.value, least=0) and self.value < 2**64
            checks.require(is_valid, "Seed", "an integer in [0, 2**64)", value=self.value)
            words = (np.uint32(self.value >> 32), np.uint32(self.value & 0xFFFFFFFF))
            object.__setattr__(self, "key", words)

    def fold(self, data: Any) -> "Seed":
        """Returns the seed that also depends on `data`, an int, or integers of shape `[]` or `[B]`."""
        data = ops.cast(ops.convert_to_tensor(data), "uint32")
        key = tuple(ops.convert_to_tensor(word, dtype="uint32") for word in self.key)
        return Seed(self.value, _encrypted(key, (data, ops.full_like(data, _FOLD))))

    def bits(self, count: int) -> Any:
        """Returns `count` random words per seed, uint32 `[..., count]`."""
        key = tuple(ops.convert_to_tensor(word, dtype="uint32")[..., None] for word in self.key)
        pairs = (count + 1) // 2
        counter = ops.convert_to_tensor(np.arange(pairs, dtype=np.uint32))
        x, y = _encrypted(key, (counter, ops.full_like(counter, _DRAW)))
        return ops.concatenate([x, y], axis=-1)[..., :count]

    def uniform(self, shape: tuple[int, ...] = (), low: float = 0.0, high: float = 1.0) -> Any:
        """Returns uniform draws in [low, high), float32 `[B, *shape]`, or `shape` for a single seed."""
        count = int(np.prod(shape, dtype=int))
        # A float32 in [0, 1) holds 24 bits exactly.
        unit = ops.cast(ops.right_shift(self.bits(count), np.uint32(8)), "float32") * np.float32(2.0**-24)
        batch = tuple(ops.shape(self.key[0])) if len(np.shape(self.key[0])) else ()
        return low + (high - low) * ops.reshape(unit, (*batch, *shape))

    def bernoulli(self, probability: float, shape: tuple[int, ...] = ()) -> Any:
        """Returns draws that are true with `probability`, bool `[B, *shape]`."""
        return self.uniform(shape) < probability

    def permutation(self, count: int) -> Any:
        """Returns a random permutation of `range(count)`, int32 `[B, count]`."""
        return ops.cast(ops.argsort(self.uniform((count,)), axis=-1), "int32")


def shuffled(count: int, *folds: int) -> np.ndarray:
    """Returns a permutation of `range(count)` that depends on the integers `folds`, NumPy int64 `[count]`.

    It is computed on the host, for the order of the examples in an epoch.
    """
    key = (np.uint32(0), np.uint32(0))
    with np.errstate(over="ignore"):
        for fold in folds:
            low, high = np.uint32(fold & 0xFFFFFFFF), np.uint32(fold >> 32)
            key = threefry(key, (low, high), np)
        index = np.arange(count, dtype=np.uint32)
        x, y = threefry(key, (index, np.full_like(index, _DRAW)), np)
    return np.argsort(x.astype(np.uint64) << np.uint64(32) | y, kind="stable")
