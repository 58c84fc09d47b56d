"""Pairs of patches as views: InfoMin (Tian et al., 2020, https://arxiv.org/abs/2005.10243).

The distance between two patches controls how much information they share: the larger, the less.
"""

import dataclasses
from typing import Any

from keras import ops

from zoo import checks, seeds
from zoo.views import maps, view


def cut(images: Any, corners: Any, size: int) -> Any:
    """Copies squares out of images.

    Args:
        images: `[B, H, W, C]`.
        corners: top and left of every square in pixels, int32 `[B, P, 2]`. All squares must lie inside the images.
        size: side of the squares in pixels.

    Returns:
        `[B, P, size, size, C]`.
    """
    height, width, channels = images.shape[1:]
    count = corners.shape[1]
    steps = ops.arange(size, dtype="int32")
    first = height * ops.arange(ops.shape(images)[0], dtype="int32")[:, None, None]  # [B, 1, 1]
    rows = first + corners[:, :, :1] + steps  # [B, P, size], as if the images stood in one column
    columns = corners[:, :, 1:] + steps  # [B, P, size]
    pixels = rows[:, :, :, None] * width + columns[:, :, None, :]  # [B, P, size, size]
    taken = ops.take(ops.reshape(images, (-1, channels)), ops.reshape(pixels, (-1,)), axis=0)
    return ops.reshape(taken, (-1, count, size, size, channels))


@dataclasses.dataclass(frozen=True)
class Pair(view.View):
    """Makes two views of an image, patches at a fixed distance.

    The first patch is placed uniformly among the positions where both fit. The second lies `distance` pixels down and
    `distance` pixels to the right of it.

    Args:
        size: side of the patches in pixels, 64 in the paper.
        distance: pixels between the corners of the patches along either axis; the paper tries 64 to 384.
    """

    size: int
    distance: int

    final = True
    several = True
    geometric = True

    def __post_init__(self):
        checks.integers("Pair", size=self.size)
        checks.integers("Pair", least=0, distance=self.distance)

    def draw(self, seed: seeds.Seed, shape: maps.Shape) -> view.Draw:
        """Draws `corners` [B, 2, 2], int32: top and left of both patches, in pixels."""
        room = [pixels - self.size - self.distance for pixels in shape[:2]]
        received = {"size": self.size, "distance": self.distance, "height": shape[0], "width": shape[1]}
        checks.require(min(room) >= 0, "Pair", "images of at least `size + distance` pixels a side", **received)
        positions = ops.cast([pixels + 1 for pixels in room], "float32")  # [2]
        corner = ops.cast(ops.floor(seed.uniform((2,)) * positions), "int32")  # [B, 2]
        return {"corners": ops.stack([corner, corner + self.distance], axis=1)}

    def apply(self, images: Any, drawn: view.Draw) -> tuple[Any, Any]:
        """Returns both patches, `[B, size, size, C]` each."""
        both = cut(images, drawn["corners"], self.size)  # [B, 2, size, size, C]
        return both[:, 0], both[:, 1]

    def output_shape(self, shape: maps.Shape) -> tuple[maps.Shape, maps.Shape]:
        """Returns `(size, size, C)` twice."""
        patch = (self.size, self.size, shape[2])
        return patch, patch
