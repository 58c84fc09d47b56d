"""Settings under which a step is traced: the library's only context variable.

Keras calls layers, and views call each other, with fixed arguments that cannot carry these settings.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Any

from zoo import replicas as group


@dataclasses.dataclass(frozen=True)
class Context:
    """Settings of the current thread.

    Args:
        replicas: the replicas that train together, for engines that do not know them.
        bn_groups: number of groups of the global batch that batch norm normalizes separately, see `zoo.models.norm`.
        xla: whether XLA compiles the traced code; XLA updates buffers in place by itself.
        image_by_image: whether views are made one image at a time, see `zoo.views.execution`.
    """

    replicas: group.Replicas = dataclasses.field(default_factory=group.Alone)
    bn_groups: int = 1
    xla: bool = False
    image_by_image: bool = False


_context: contextvars.ContextVar[Context] = contextvars.ContextVar("context", default=Context())  # noqa: B039, frozen


def current() -> Context:
    """Returns the current settings."""
    return _context.get()


@contextlib.contextmanager
def using(**changes: Any) -> Iterator[Context]:
    """Changes some settings within a `with` block, for the current thread only.

    Args:
        **changes: fields of `Context`.

    Yields:
        The settings within the block.
    """
    token = _context.set(dataclasses.replace(_context.get(), **changes))
    try:
        yield _context.get()
    finally:
        _context.reset(token)
