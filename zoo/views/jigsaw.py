"""Jigsaw puzzles as views: PIRL (Misra & van der Maaten, 2019, https://arxiv.org/abs/1912.01991).

InfoMin (Tian et al., 2020, https://arxiv.org/abs/2005.10243) adopts them. The default sizes are those of
https://github.com/HobbitLong/PyContrast.
"""

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from zoo import checks, seeds
from zoo.views import maps, patches, view


@dataclasses.dataclass(frozen=True)
class Jigsaw(view.View):
    """Cuts an image into patches in random order, `[B, H, W, C] -> [B, grid * grid, size, size, C]`.

    The image is divided into a grid of cells of H // grid by W // grid pixels. From each cell a square patch is cut at
    a uniformly random position, so that gaps between the patches do not reveal which of them are neighbors. As
    published, an image of 255 pixels has cells of 85 pixels and patches of 64.

    Args:
        grid: number of cells along each side.
        size: side of the patches in pixels.
        shuffle: whether to shuffle the patches; otherwise they come row by row.

    Differs from the paper: there the head of the network shuffles the patches. Here the view does, so that their order
    depends only on the seed of the image.
    """

    grid: int = 3
    size: int = 64
    shuffle: bool = True

    final = True
    geometric = True

    def __post_init__(self):
        checks.integers("Jigsaw", grid=self.grid, size=self.size)

    def draw(self, seed: seeds.Seed, shape: maps.Shape) -> view.Draw:
        """Draws the positions of the patches and their order.

        `offsets` [B, grid * grid, 2], int32: pixels from the top and left of each cell to its patch, cells row by row;
        `order` [B, grid * grid], int32: the cell of the first patch, of the second, ...
        """
        cell = self._cell(shape)
        is_valid = min(cell) >= self.size
        checks.require(is_valid, "Jigsaw", "cells of at least `size` pixels a side", size=self.size, cell=cell)
        count = self.grid**2
        unit = seed.uniform((3 * count,))  # [B, 3 * grid * grid]
        positions = np.array([pixels - self.size + 1 for pixels in cell], dtype="float32")
        offsets = ops.cast(ops.floor(ops.reshape(unit[:, : 2 * count], (-1, count, 2)) * positions), "int32")
        row_by_row = ops.zeros_like(unit[:, :count]) + np.arange(count)
        order = ops.argsort(unit[:, 2 * count :], axis=-1) if self.shuffle else row_by_row
        return {"offsets": offsets, "order": ops.cast(order, "int32")}

    def apply(self, images: Any, drawn: view.Draw) -> Any:
        """Returns the patches in the drawn order."""
        cell = np.array(self._cell(images.shape[1:]), dtype="int32")
        cells = np.stack(np.meshgrid(*[np.arange(self.grid)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
        corners = cells.astype("int32") * cell + drawn["offsets"]  # [B, grid * grid, 2]
        corners = ops.take_along_axis(corners, drawn["order"][:, :, None], axis=1)
        return patches.cut(images, corners, self.size)

    def output_shape(self, shape: maps.Shape) -> maps.Shape:
        """Returns `(grid * grid, size, size, C)`."""
        return (self.grid**2, self.size, self.size, shape[2])

    def _cell(self, shape):
        """Returns the height and width of a cell."""
        return shape[0] // self.grid, shape[1] // self.grid
