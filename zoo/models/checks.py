"""What the arguments of a model must be, and the sentence that says so."""

import difflib


def choice(who, name, value, choices):
    """Raises ValueError unless `value` is one of the choices."""
    if value in choices:
        return
    close = difflib.get_close_matches(str(value), [word for word in choices if word], n=1)
    suggestion = f" Did you mean {close[0]!r}?" if close else ""
    listed = ", ".join(repr(word) for word in choices)
    raise ValueError(f"{who}: expected one of {listed}. Received: {name}={value!r}.{suggestion}")


def sizes(who, name, values):
    """Raises ValueError unless `values` is a sequence of one or more positive integers."""
    if not isinstance(values, tuple | list) or not values or not all(is_size(value) for value in values):
        raise ValueError(f"{who}: expected one or more positive integers. Received: {name}={values!r}.")


def is_size(value):
    """Whether `value` is a positive integer."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
