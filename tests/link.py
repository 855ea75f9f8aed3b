"""A TCP connection that can be cut, between two processes that stand for two machines."""

from __future__ import annotations

import contextlib
import socket
import threading


class Link:
    """A port of 127.0.0.1 that leads to another one, as long as the link is up.

    Args:
        port: Where it leads.
    """

    def __init__(self, port: int) -> None:
        self._behind = ("127.0.0.1", port)
        self._passing = threading.Event()
        self._passing.set()
        self._open: set[socket.socket] = set()
        self.port = 0
        self.up()

    def up(self) -> None:
        """Let connections in, on the port of before."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def down(self) -> None:
        """Refuse new connections and break those that are open."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            _close(connection)

    def silent(self) -> None:
        """Swallow everything without a word, as a dead cable does."""
        self._passing.clear()

    def heard(self) -> None:
        """Let through what was held back, and what follows."""
        self._passing.set()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._behind)
                self._open |= {client, server}
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                self._passing.wait()
                target.sendall(chunk)
        for connection in (source, target):
            _close(connection)
            self._open.discard(connection)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
