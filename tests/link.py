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
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.up()

    def up(self) -> None:
        """Let connections in, on the port of before."""
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def down(self) -> None:
        """Refuse new connections and break those that are open."""
        self.close()
        # Bound and deaf: nobody else gets the port meanwhile, and whoever comes is refused.
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))

    def close(self) -> None:
        """The same for ever."""
        # Closing alone would leave accept() waiting, and the port open with it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
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
                with self._lock:
                    if listener.fileno() < 0:  # cut just now
                        _close(client)
                        _close(server)
                        return
                    self._open |= {client, server}
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, asking: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                self._passing.wait()
                if not self._pass(chunk, target, asking):
                    break
        for connection in (source, target):
            _close(connection)
            self._open.discard(connection)

    def _pass(self, chunk: bytes, target: socket.socket, asking: bool) -> bool:
        """Send on what came; whether the connection is to stay.

        Args:
            chunk: What came.
            target: Where to.
            asking: Whether it came from whoever connected.
        """
        target.sendall(chunk)
        return True


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
