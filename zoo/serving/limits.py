"""Bounds of what a server accepts."""

import contextlib
import dataclasses
from collections.abc import Iterator

from zoo import checks
from zoo.data import decoding
from zoo.serving import status


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of a request and of all requests in flight.

    Args:
        body_bytes: of a request, also when unpacked from gzip.
        in_flight_bytes: of all requests in flight, bodies and arrays.
        rpcs: concurrent calls over gRPC, which receives whole messages before it asks: `rpcs` times `body_bytes` at
            worst.
        rows: images of a request.
        pixels: of an image file, decoded.
        request_pixels: of all image files of a request, decoded.
        in_flight_pixels: of the image files of all requests in flight.
        elements: values and lists of a row of a request in JSON, or of a request that is not by rows.
        tensor_bytes: of an input by its shape, since a few bytes can stand for many.
        read_seconds: to receive the body of a request.
        header_seconds: between the requests of a connection, and to receive the head of a request.
        answer_seconds: to answer a request; then the status is DEADLINE_EXCEEDED.
        drain_seconds: for the requests in flight when the server is stopped.
    """

    body_bytes: int = 64 << 20
    in_flight_bytes: int = 512 << 20
    rpcs: int = 128
    rows: int = 1024
    pixels: int = decoding.PIXELS
    request_pixels: int = 250_000_000
    in_flight_pixels: int = 500_000_000
    elements: int = 600_000
    tensor_bytes: int = 1 << 30
    read_seconds: float = 30.0
    header_seconds: float = 30.0
    answer_seconds: float = 60.0
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        checks.positive("Limits", **dataclasses.asdict(self))


class Room:
    """Room that all requests in flight share.

    Args:
        size: the most.
        unit: of the size.
    """

    def __init__(self, size: int, unit: str = "bytes"):
        self.size, self.unit, self.held = size, unit, 0

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Counts a size as held in the `with` block; ServingError UNAVAILABLE where it exceeds the room."""
        if self.held + size > self.size:
            expected, received = f"at most {self.size} {self.unit} in flight", f"{size}, with {self.held} in flight"
            raise status.error("Server", expected, received, " Try again later.", "UNAVAILABLE")
        self.held += size
        try:
            yield
        finally:
            self.held -= size
