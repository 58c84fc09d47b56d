"""Jigsaw puzzles as views: PIRL (Misra & van der Maaten, 2019, https://arxiv.org/abs/1912.01991).

InfoMin (Tian et al., 2020, https://arxiv.org/abs/2005.10243) takes them over, and so does
https://github.com/HobbitLong/PyContrast, whose sizes these are.
"""

import dataclasses

import numpy as np
from keras import ops

from zoo import checks
from zoo.views import patches, view


@dataclasses.dataclass(frozen=True)
class Jigsaw(view.View):
    """Patches of an image in random order, one per cell of a grid, `[B, H, W, C] -> [B, grid * grid, size, size, C]`.

    A cell has H // grid by W // grid pixels; a patch is a square somewhere inside, uniformly. So patches do not touch,
    and the gaps between them do not tell which ones were neighbours. As published: an image of 255 pixels, cells of 85,
    patches of 64.

    Args:
        grid: cells along each side.
        size: side of the patches in pixels.
        shuffle: whether the patches come in random order; otherwise row by row.

    Differs from the paper: there the network's head shuffles. Here the view does, so that the order depends on nothing
    but the image's own seed.
    """

    grid: int = 3
    size: int = 64
    shuffle: bool = True

    final = True
    geometric = True

    def __post_init__(self):
        checks.integers("Jigsaw", grid=self.grid, size=self.size)

    def draw(self, seed, shape):
        """Where the patches lie, and in which order they come.

        `offsets` [B, grid * grid, 2], int32: of each cell's patch from the cell's top and left, cells row by row;
        `order` [B, grid * grid], int32: which cell comes first, second, ...
        """
        cell = self._cell(shape)
        is_valid = min(cell) >= self.size
        checks.require(is_valid, "Jigsaw", "cells of at least `size` pixels a side", size=self.size, cell=cell)
        count = self.grid**2
        unit = seed.uniform((3 * count,))  # [B, 3 * grid * grid]
        places = np.array([pixels - self.size + 1 for pixels in cell], dtype="float32")
        offsets = ops.cast(ops.floor(ops.reshape(unit[:, : 2 * count], (-1, count, 2)) * places), "int32")
        in_rows = ops.zeros_like(unit[:, :count]) + np.arange(count)
        order = ops.argsort(unit[:, 2 * count :], axis=-1) if self.shuffle else in_rows
        return {"offsets": offsets, "order": ops.cast(order, "int32")}

    def apply(self, images, drawn):
        """The patches, in the drawn order."""
        cell = np.array(self._cell(images.shape[1:]), dtype="int32")
        cells = np.stack(np.meshgrid(*[np.arange(self.grid)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
        corners = cells.astype("int32") * cell + drawn["offsets"]  # [B, grid * grid, 2]
        corners = ops.take_along_axis(corners, drawn["order"][:, :, None], axis=1)
        return patches.cut(images, corners, self.size)

    def output_shape(self, shape):
        """Returns `(grid * grid, size, size, C)`."""
        return (self.grid**2, self.size, self.size, shape[2])

    def _cell(self, shape):
        """Height and width of a cell."""
        return shape[0] // self.grid, shape[1] // self.grid
