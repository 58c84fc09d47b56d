"""Converts views with any number of channels and patches to pictures that can be displayed, in NumPy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Pixels between patches and between panels of channels, in mid-gray.
_GAP, _GRAY = 1, 0.5


def displayable(view: Any) -> np.ndarray:
    """Converts a batch of views to gray or RGB pictures.

    Views with one channel are gray and those with three are RGB; other numbers of channels become gray panels side by
    side. Patches are laid out on a grid, row by row. Views with values below 0 are scaled to [0, 1] with 0 at mid-gray,
    and views with values above 1 are divided by the largest value. All images of the batch are scaled alike.

    Args:
        view: floats `[B, H, W, C]`, or patches `[B, P, H, W, C]`.

    Returns:
        Float32 in [0, 1], `[B, H', W', 1]` or `[B, H', W', 3]`.
    """
    view = np.asarray(view, dtype="float32")
    largest = float(np.abs(view).max(initial=0))
    if view.min(initial=0) < 0:
        view = 0.5 + view / (2 * largest)
    elif largest > 1:
        view = view / largest
    if view.ndim == 5:
        view = _grid(view, int(np.ceil(np.sqrt(view.shape[1]))))  # [B, H', W', C]
    if view.shape[-1] not in (1, 3):
        view = _grid(np.moveaxis(view, -1, 1)[..., None], view.shape[-1])  # [B, H, W', 1]
    return np.clip(view, 0, 1)


def _grid(panels, columns):
    """Lays out panels `[B, P, h, w, C]` row by row on a grid, `[B, H, W, C]`."""
    batch, count, height, width, channels = panels.shape
    rows = -(-count // columns)
    whole = np.full((batch, rows * (height + _GAP), columns * (width + _GAP), channels), _GRAY, dtype="float32")
    for number in range(count):
        top, left = (number // columns) * (height + _GAP), (number % columns) * (width + _GAP)
        whole[:, top : top + height, left : left + width] = panels[:, number]
    return whole[:, :-_GAP, :-_GAP]


def sheet(views: Sequence) -> np.ndarray:
    """Arranges views in one picture, with a row per image and a column per view.

    Args:
        views: batches of views of the same images, as for `displayable`.

    Returns:
        Float32 in [0, 1], `[H, W, 1]` or `[H, W, 3]`.
    """
    shown = [displayable(view) for view in views]
    height, channels = (max(picture.shape[axis] for picture in shown) for axis in (1, 3))
    columns = []
    for picture in shown:
        if picture.shape[-1] != channels:
            picture = np.repeat(picture, channels, axis=-1)
        below = height - picture.shape[1]
        columns.append(np.pad(picture, ((0, 0), (0, below), (0, 0), (0, 0)), constant_values=_GRAY))
    rows = np.concatenate(columns, axis=2)  # [B, H, W, C]
    return rows.reshape(-1, *rows.shape[2:])
