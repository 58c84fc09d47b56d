"""Views as pictures to look at, whatever their number of channels and patches; NumPy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Pixels between patches and between panels of channels, in mid-grey.
_GAP, _GREY = 1, 0.5


def legible(view: Any) -> np.ndarray:
    """What can be shown of a batch of views.

    Three channels are colours, one is grey, any other number becomes so many grey panels side by side. Patches lie on
    a grid, row by row. A view with values below 0 or above 1 is scaled, all its images alike: into [0, 1] about a grey
    of 0 where some are negative, by the greatest otherwise.

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
    """Panels `[B, P, h, w, C]` row by row, so many columns wide, `[B, H, W, C]`."""
    batch, count, height, width, channels = panels.shape
    rows = -(-count // columns)
    whole = np.full((batch, rows * (height + _GAP), columns * (width + _GAP), channels), _GREY, dtype="float32")
    for number in range(count):
        top, left = (number // columns) * (height + _GAP), (number % columns) * (width + _GAP)
        whole[:, top : top + height, left : left + width] = panels[:, number]
    return whole[:, :-_GAP, :-_GAP]


def sheet(views: Sequence) -> np.ndarray:
    """All views on one picture, a row for every image.

    Args:
        views: batches that `legible` takes, of one B.

    Returns:
        Float32 in [0, 1], `[H, W, 1]` or `[H, W, 3]`.
    """
    shown = [legible(view) for view in views]
    height, channels = (max(one.shape[axis] for one in shown) for axis in (1, 3))
    columns = []
    for one in shown:
        one = one if one.shape[-1] == channels else np.repeat(one, channels, axis=-1)
        below = height - one.shape[1]
        columns.append(np.pad(one, ((0, 0), (0, below), (0, 0), (0, 0)), constant_values=_GREY))
    rows = np.concatenate(columns, axis=2)  # [B, H, W, C]
    return rows.reshape(-1, *rows.shape[2:])
