"""Pictures of views with any number of channels and patches, in NumPy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Width in pixels, and shade, of the gaps between patches and between panels of channels.
_GAP, _GRAY = 1, 0.5


def legible(view: Any) -> np.ndarray:
    """Returns pictures of a batch of views.

    Three channels are shown in color, one channel in gray; any other number of channels becomes gray panels side by
    side. Patches are laid out in a grid, row by row. Values outside [0, 1] are scaled into it, all images alike: with
    0 as mid-gray if some are negative, by the maximum otherwise.

    Args:
        view: floats `[B, H, W, C]`, or patches `[B, P, H, W, C]`.

    Returns:
        Float32 in [0, 1], `[B, H', W', 1]` or `[B, H', W', 3]`.
    """
    view = np.asarray(view, dtype="float32")
    most = float(np.abs(view).max(initial=0))
    if view.min(initial=0) < 0:
        view = 0.5 + view / (2 * most)
    elif most > 1:
        view = view / most
    if view.ndim == 5:
        view = _grid(view, int(np.ceil(np.sqrt(view.shape[1]))))  # [B, H', W', C]
    if view.shape[-1] not in (1, 3):
        view = _grid(np.moveaxis(view, -1, 1)[..., None], view.shape[-1])  # [B, H, W', 1]
    return np.clip(view, 0, 1)


def _grid(panels, columns):
    """Returns panels `[B, P, h, w, C]` laid out row by row in a number of columns, `[B, H, W, C]`."""
    batch, count, height, width, channels = panels.shape
    rows = -(-count // columns)
    whole = np.full((batch, rows * (height + _GAP), columns * (width + _GAP), channels), _GRAY, dtype="float32")
    for number in range(count):
        top, left = (number // columns) * (height + _GAP), (number % columns) * (width + _GAP)
        whole[:, top : top + height, left : left + width] = panels[:, number]
    return whole[:, :-_GAP, :-_GAP]


def sheet(views: Sequence) -> np.ndarray:
    """Returns one picture of all views, with a row for every image.

    Args:
        views: batches of views of the same images, each as for `legible`.

    Returns:
        Float32 in [0, 1], `[H, W, 1]` or `[H, W, 3]`.
    """
    shown = [legible(view) for view in views]
    height, channels = (max(column.shape[axis] for column in shown) for axis in (1, 3))
    columns = []
    for column in shown:
        if column.shape[-1] != channels:
            column = np.repeat(column, channels, axis=-1)
        below = height - column.shape[1]
        columns.append(np.pad(column, ((0, 0), (0, below), (0, 0), (0, 0)), constant_values=_GRAY))
    rows = np.concatenate(columns, axis=2)  # [B, H, W, C]
    return rows.reshape(-1, *rows.shape[2:])
