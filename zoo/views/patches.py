"""Patches at a distance as views: InfoMin (Tian et al., 2020, https://arxiv.org/abs/2005.10243).

How far apart two patches lie says how much they share: the further, the less.
"""

import dataclasses

from keras import ops

from zoo import checks
from zoo.views import view


def cut(images, corners, size):
    """Squares out of images, exact copies.

    Args:
        images: `[B, H, W, C]`.
        corners: top and left of every square in pixels, int32 `[B, P, 2]`; the squares lie inside the images.
        size: side of the squares in pixels.

    Returns:
        `[B, P, size, size, C]`.
    """
    height, width, channels = images.shape[1:]
    count = corners.shape[1]
    steps = ops.arange(size, dtype="int32")
    first = height * ops.arange(ops.shape(images)[0], dtype="int32")[:, None, None]  # [B, 1, 1]
    rows = first + corners[:, :, :1] + steps  # [B, P, size], in the batch's images one below the other
    columns = corners[:, :, 1:] + steps  # [B, P, size]
    pixels = rows[:, :, :, None] * width + columns[:, :, None, :]  # [B, P, size, size]
    taken = ops.take(ops.reshape(images, (-1, channels)), ops.reshape(pixels, (-1,)), axis=0)
    return ops.reshape(taken, (-1, count, size, size, channels))


@dataclasses.dataclass(frozen=True)
class Pair(view.View):
    """Two patches of an image: one anywhere, the other `distance` pixels down and right of it.

    The place is uniform among those where both fit.

    Args:
        size: side of the patches in pixels, 64 in the paper.
        distance: pixels between the patches' corners along either axis; the paper sweeps 64 to 384.
    """

    size: int
    distance: int

    final = True
    several = True
    geometric = True

    def __post_init__(self):
        checks.integers("Pair", size=self.size)
        checks.integers("Pair", least=0, distance=self.distance)

    def draw(self, seed, shape):
        """`corners` [B, 2, 2], int32: top and left of both patches, in pixels."""
        room = [pixels - self.size - self.distance for pixels in shape[:2]]
        given = {"size": self.size, "distance": self.distance, "height": shape[0], "width": shape[1]}
        checks.require(min(room) >= 0, "Pair", "images of at least `size + distance` pixels a side", **given)
        places = ops.cast([pixels + 1 for pixels in room], "float32")  # [2]
        corner = ops.cast(ops.floor(seed.uniform((2,)) * places), "int32")  # [B, 2]
        return {"corners": ops.stack([corner, corner + self.distance], axis=1)}

    def apply(self, images, drawn):
        """The two patches, `[B, size, size, C]` each."""
        both = cut(images, drawn["corners"], self.size)  # [B, 2, size, size, C]
        return both[:, 0], both[:, 1]

    def output_shape(self, shape):
        """Returns `(size, size, C)` twice."""
        patch = (self.size, self.size, shape[2])
        return patch, patch
