"""The circumstances under which a step is traced: the library's only context variable.

Layers and views are called by Keras and by each other, with arguments that have no room for these settings.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Any

from zoo import replicas as group


@dataclasses.dataclass(frozen=True)
class Context:
    """Settings of the present thread.

    Args:
        replicas: the replicas that train together, where the engine itself cannot tell.
        bn_groups: groups of the global batch that batch norm normalizes separately, see `zoo.models.norm`.
        xla: whether XLA compiles what is traced, and so updates buffers in place by its own means.
        image_by_image: whether views are made one image at a time, see `zoo.views.execution`.
    """

    replicas: group.Replicas = dataclasses.field(default_factory=group.Alone)
    bn_groups: int = 1
    xla: bool = False
    image_by_image: bool = False


_context: contextvars.ContextVar[Context] = contextvars.ContextVar("context", default=Context())  # noqa: B039, frozen


def current() -> Context:
    """Returns the settings that hold here."""
    return _context.get()


@contextlib.contextmanager
def using(**changes: Any) -> Iterator[Context]:
    """Changes some settings within a `with` block, for the present thread only.

    Args:
        **changes: fields of `Context`.

    Yields:
        The settings that hold within the block.
    """
    token = _context.set(dataclasses.replace(_context.get(), **changes))
    try:
        yield _context.get()
    finally:
        _context.reset(token)
