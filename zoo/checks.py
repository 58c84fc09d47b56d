"""Checks of arguments, and the one sentence in which every error of the library is written."""

import difflib
import math
from collections.abc import Collection, Iterable
from typing import Any


def require(condition: Any, who: str, expected: str, **received: Any) -> None:
    """Raises the error of a wrong argument unless a condition holds.

    Args:
        condition: whether the argument is right.
        who: name of the function or class that was called.
        expected: what it expected, as a noun phrase that names the parameter.
        **received: the arguments in question, by name.

    Raises:
        ValueError: "<who>: expected <expected>. Received: <name>=<value>."
    """
    if not condition:
        values = ", ".join(f"{name}={value!r}" for name, value in received.items())
        raise ValueError(f"{who}: expected {expected}. Received: {values}.")


def suggestion(word: Any, known: Iterable) -> str:
    """Returns " Did you mean 'x'?" for the known word closest to `word`, or "" if none is close."""
    names = {str(name).lower(): str(name) for name in known if name}
    close = difflib.get_close_matches(str(word).lower(), names, n=1)
    return f" Did you mean {names[close[0]]!r}?" if close else ""


def one_of(who: str, name: str, value: Any, known: Collection) -> None:
    """Raises ValueError unless `value` is one of the `known` values; the error lists them and the closest one."""
    if value not in known:
        listed = ", ".join(repr(choice) for choice in known)
        hint = suggestion(value, known)
        raise ValueError(f"{who}: expected `{name}` to be one of {listed}. Received: {name}={value!r}.{hint}")


def is_integer(value: Any, least: int = 1) -> bool:
    """Returns whether `value` is an integer, not a bool, of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def integers(who: str, least: int = 1, **values: Any) -> None:
    """Raises ValueError unless every value is an integer of at least `least`; a bool is none."""
    kind = {0: "a non-negative integer", 1: "a positive integer"}.get(least, f"an integer >= {least}")
    for name, value in values.items():
        require(is_integer(value, least), who, f"`{name}` to be {kind}", **{name: value})


def sizes(who: str, name: str, values: Any) -> None:
    """Raises ValueError unless `values` is a sequence of one or more positive integers."""
    valid = isinstance(values, (tuple, list)) and len(values) > 0 and all(is_integer(value) for value in values)
    require(valid, who, f"`{name}` to be one or more positive integers", **{name: values})


def is_number(value: Any) -> bool:
    """Returns whether `value` is a finite number, not a bool."""
    # Compared, not converted: an integer may have more digits than a float can hold.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -math.inf < value < math.inf


def positive(who: str, **values: Any) -> None:
    """Raises ValueError unless every value is a finite number above 0."""
    for name, value in values.items():
        require(is_number(value) and value > 0, who, f"`{name}` > 0", **{name: value})


def non_negative(who: str, **values: Any) -> None:
    """Raises ValueError unless every value is a finite number of at least 0."""
    for name, value in values.items():
        require(is_number(value) and value >= 0, who, f"`{name}` >= 0", **{name: value})


def fractions(who: str, **values: Any) -> None:
    """Raises ValueError unless every value is a number in [0, 1]."""
    for name, value in values.items():
        require(is_number(value) and 0 <= value <= 1, who, f"`{name}` in [0, 1]", **{name: value})
