"""Sockets to listen on: one, or for several workers one each on the same port."""

from __future__ import annotations

import socket

from llmhub_core.contracts.errors import StartError

BACKLOG = 1024


def listening_socket(host: str, port: int) -> socket.socket:
    """Bound; StartError with what to do about it if it cannot be."""
    return _bound(host, port, several=False)


class SharedPort:
    """Each worker accepts from a queue of its own, among which the system spreads the connections.

    The sockets are the supervisor's, and the workers inherit theirs: when a worker is replaced, or dies, what waits in
    its queue is there for the next one. If each worker made its own, closing it would reset them.
    """

    def __init__(self, host: str, port: int) -> None:
        probe = _bound(host, port, several=False)  # or another hub of the same user could take a share of the port
        self.port: int = probe.getsockname()[1]
        probe.close()
        self._host = host

    def queue(self) -> socket.socket:
        return _bound(self._host, self.port, several=True)


def _bound(host: str, port: int, several: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if several:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise StartError(
            f"Cannot listen on {host}:{port}: {error.strerror}; choose another with --port, or --port 0 for a free one."
        ) from None
    listening.setblocking(False)
    return listening
