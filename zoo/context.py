"""Settings that hold while a step is computed or traced, in the only context variable of the library.

They reach layers and views that are called by Keras or by each other, with arguments that leave no room for settings.
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
        replicas: the replicas that train together, if the engine itself does not know them.
        bn_groups: number of groups of the global batch that batch norm normalizes separately, see `zoo.models.norm`.
        xla: whether the traced code is compiled by XLA, which updates variables in place by itself.
        image_by_image: whether views are made of one image at a time, see `zoo.views.execution`.
    """

    replicas: group.Replicas = dataclasses.field(default_factory=group.Alone)
    bn_groups: int = 1
    xla: bool = False
    image_by_image: bool = False


_context: contextvars.ContextVar[Context] = contextvars.ContextVar("context", default=Context())  # noqa: B039, frozen


def current() -> Context:
    """Returns the settings that hold for the calling code."""
    return _context.get()


@contextlib.contextmanager
def using(**changes: Any) -> Iterator[Context]:
    """Changes some settings within a `with` block, for the present thread.

    Args:
        **changes: fields of `Context`, such as `bn_groups=8`.

    Yields:
        The settings that hold within the block.
    """
    token = _context.set(dataclasses.replace(_context.get(), **changes))
    try:
        yield _context.get()
    finally:
        _context.reset(token)
