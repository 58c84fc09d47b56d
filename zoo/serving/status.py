"""Errors of requests, by the status codes of gRPC, which TensorFlow Serving also uses over HTTP."""

import re
from typing import Any

# Code -> status over HTTP. The position of a code is its number in gRPC and in TensorFlow.
HTTP = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
CODES = tuple(HTTP)
# Characters of a message, which may repeat a part of a request and travels in gRPC's headers of 8 KiB.
_LONGEST = 600
# Lines of TensorFlow's errors that name a place in the graph.
_TRACE = re.compile(r"Graph execution error|Detected at node|<stack traces unavailable>|\d+ root error|\[\[\{\{")


class ServingError(Exception):
    """A request that cannot be answered.

    Args:
        code: a key of `HTTP`.
        message: what was expected and what was received.
        http: the status over HTTP, where it says more than that of the code.
    """

    def __init__(self, code: str, message: str, http: int | None = None):
        message = message if len(message) <= _LONGEST else message[:_LONGEST] + "..."
        super().__init__(message)
        self.code, self.message, self.http = code, message, http or HTTP[code]


def error(
    who: str, expected: str, received: object, hint: str = "", code: str = "INVALID_ARGUMENT", http: int | None = None
) -> ServingError:
    """Returns the error of a request in the grammar of the library's errors."""
    return ServingError(code, f"{who}: expected {expected}. Received: {received}.{hint}", http)


def from_tensorflow(raised: Any) -> ServingError:
    """Returns a `tf.errors.OpError`, raised while a model ran, without the trace of its graph."""
    text = raised.message or str(raised)
    assertion = re.search(r"assertion failed: (.+)", text)
    if assertion:
        # Each part of an assertion's message is in brackets.
        text = assertion[1].strip().removeprefix("[").removesuffix("]").replace("] [", " ").replace("= ", "=")
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(raised).__name__]
        text = next((line for line in lines if not _TRACE.match(line)), lines[0])
        text = re.sub(r"^\(\d+\) [A-Z_ ]+: +", "", text)
    return ServingError(CODES[raised.error_code] if 0 < raised.error_code < len(CODES) else "UNKNOWN", text)
