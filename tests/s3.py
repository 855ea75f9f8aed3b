"""A real S3 endpoint over HTTP for tests, whose network can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import warnings
from typing import Any

VERBS = (b"GET ", b"HEAD ", b"PUT ", b"POST ", b"DELETE ")


class S3:
    """Moto's server in a thread, behind a proxy that counts requests and can cut them.

    Attributes:
        requests: The first line of every request since the last :meth:`forget`.
    """

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import boto3
            from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self._behind = self._server.get_host_and_port()
        self.requests: list[str] = []
        self._port = 0
        self._cuts = 0
        self._cut_after = 0
        self._connections: set[socket.socket] = set()
        self.up()
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self._behind[1]}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it; nothing of the machine's own settings counts."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "geheim",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_CONFIG_FILE": "/nonexistent",
        }

    def count(self, verb: str) -> int:
        """Requests of that verb since the last :meth:`forget`."""
        return sum(line.startswith(verb + " ") for line in self.requests)

    def forget(self) -> None:
        """Count from zero."""
        self.requests.clear()

    def up(self) -> None:
        """Let connections in, on the port of before."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def down(self) -> None:
        """Refuse new connections and break those that are open."""
        # Closing alone would leave accept() waiting, and the port open with it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            _close(connection)

    def cut_answers(self, times: int, after: int) -> None:
        """Break the connection in the middle of the next answers longer than that."""
        self._cuts, self._cut_after = times, after

    def stop(self) -> None:
        self.down()
        self.client.close()
        self._server.stop()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._behind)
                self._connections |= {client, server}
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, asking: bool) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                if asking and chunk.startswith(VERBS):
                    self.requests.append(chunk.split(b"\r\n", 1)[0].decode())
                    sent = 0
                target.sendall(chunk)
                sent += len(chunk)
                if not asking and self._cuts and sent > self._cut_after:
                    self._cuts -= 1
                    break
        for connection in (source, target):
            _close(connection)
            self._connections.discard(connection)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
