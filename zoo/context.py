"""Settings that hold within a `with` block, for what nobody can be handed them."""

import contextlib


@contextlib.contextmanager
def within(variable, value):
    """Gives a `contextvars.ContextVar` a value, which it loses with the block; other threads do not see it."""
    before = variable.set(value)
    try:
        yield value
    finally:
        variable.reset(before)
