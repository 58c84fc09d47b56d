"""What went wrong, in the words of gRPC's status codes, which TensorFlow Serving also gives over HTTP."""

import re

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
# The numbers of the codes, in gRPC and in TensorFlow.
CODES = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
    "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS "
    "UNAUTHENTICATED"
).split()
# Characters of a message: it may repeat a part of a request, and travels in gRPC's headers, 8 KiB percent-encoded.
_LONGEST = 600
# Lines of TensorFlow's errors that tell where, not what.
_TRACE = re.compile(r"Graph execution error|Detected at node|<stack traces unavailable>|\d+ root error|\[\[\{\{")


class ServingError(Exception):
    """A request that cannot be answered.

    Args:
        code: a key of `HTTP`.
        message: what was expected and what came.
        http: the status over HTTP, where it says more than the code's own.
    """

    def __init__(self, code, message, http=None):
        message = message if len(message) <= _LONGEST else message[:_LONGEST] + "..."
        super().__init__(message)
        self.code, self.message = code, message
        self.http = http or HTTP[code]


def of_engine(error):
    """What TensorFlow raised while a model ran, as a `ServingError` without the trace of the graph.

    Args:
        error: a `tf.errors.OpError`.
    """
    text = error.message or str(error)
    asserted = re.search(r"assertion failed: (.+)", text)
    if asserted:
        # Each part of an assertion's words stands in brackets.
        text = re.sub(r"\] \[", " ", asserted.group(1).strip().removeprefix("[").removesuffix("]"))
        text = text.replace("= ", "=")
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        told = [line for line in lines if not _TRACE.match(line)]
        text = re.sub(r"^\(\d+\) [A-Z_ ]+: +", "", (told or lines or [type(error).__name__])[0])
    return ServingError(CODES[error.error_code] if 0 < error.error_code < len(CODES) else "UNKNOWN", text)


def unexpected(error):
    """A fault of the server's own, as a `ServingError`."""
    return ServingError("INTERNAL", f"{type(error).__name__}: {error}")
