"""What a server takes from strangers."""

import dataclasses

from zoo.serving import status


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of a request and of all that are in flight.

    Args:
        body_bytes: of one request, also when unpacked from gzip.
        in_flight_bytes: of all requests that are under way, bodies and arrays.
        rpcs: calls over gRPC at one time. It takes in whole messages before it asks: at worst `rpcs` times
            `body_bytes`.
        connections: over HTTP at one time.
        rows: images of a request.
        pixels: of an image file, unpacked.
        request_pixels: of all image files of a request, unpacked.
        tensor_bytes: of an input as its shape tells it, since a few bytes can stand for many.
        read_seconds: until the body of a request must have come.
        header_seconds: that a connection may wait between requests, or take for the head of one.
        answer_seconds: until an answer must have gone out; then the status is DEADLINE_EXCEEDED.
        drain_seconds: that requests have to end when the server is asked to stop.
    """

    body_bytes: int = 64 << 20
    in_flight_bytes: int = 512 << 20
    rpcs: int = 128
    connections: int = 10_000
    rows: int = 1024
    pixels: int = 25_000_000
    request_pixels: int = 250_000_000
    tensor_bytes: int = 1 << 30
    read_seconds: float = 30.0
    header_seconds: float = 30.0
    answer_seconds: float = 60.0
    drain_seconds: float = 30.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not value > 0:
                raise ValueError(f"Limits: expected `{field.name}` > 0. Received: {field.name}={value!r}.")


class Room:
    """Bytes that the requests under way may hold together.

    Args:
        size: of them.
    """

    def __init__(self, size):
        self.size, self.held = size, 0

    def take(self, size):
        """Counts bytes; UNAVAILABLE where they are too many."""
        if self.held + size > self.size:
            raise status.ServingError(
                "UNAVAILABLE", f"The requests in flight hold {self.held} of {self.size} bytes already. Try again later."
            )
        self.held += size

    def give(self, size):
        """Counts them off again."""
        self.held -= size
