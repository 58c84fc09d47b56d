"""What tests with several worker processes share."""

import socket


def free_ports(count):
    """Ports that were free a moment ago."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
