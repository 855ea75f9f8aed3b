"""A real S3 endpoint over HTTP for tests, whose network can be cut."""

from __future__ import annotations

import socket
import threading
import warnings
from typing import Any

from tests.link import Link

VERBS = (b"GET ", b"HEAD ", b"PUT ", b"POST ", b"DELETE ")


class _Wire(Link):
    """A link that notes the first line of every request, and can break long answers off."""

    def __init__(self, port: int) -> None:
        self.requests: list[str] = []
        self.cuts = self.cut_after = 0
        self._answered: dict[socket.socket, int] = {}
        super().__init__(port)

    def _pass(self, chunk: bytes, target: socket.socket, asking: bool) -> bool:
        if asking and chunk.startswith(VERBS):
            self.requests.append(chunk.split(b"\r\n", 1)[0].decode())
        super()._pass(chunk, target, asking)
        if asking:
            return True
        self._answered[target] = self._answered.get(target, 0) + len(chunk)
        if self.cuts and self._answered[target] > self.cut_after:
            self.cuts -= 1
            return False
        return True


def _answer_one_by_one(app: Any) -> Any:
    lock = threading.Lock()

    def answer(environ: Any, start_response: Any) -> list[bytes]:
        with lock:
            return list(app(environ, start_response))

    return answer


class S3:
    """Moto's server in a thread, behind a link that counts requests and can be cut.

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
        _, port = self._server.get_host_and_port()
        # Moto closes an object's content while another request still reads it.
        self._server._server.app = _answer_one_by_one(self._server._server.app)
        self._wire = _Wire(port)
        self.requests = self._wire.requests
        self.up, self.down = self._wire.up, self._wire.down
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it; nothing of the machine's own settings counts."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._wire.port}",
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

    def cut_answers(self, times: int, after: int) -> None:
        """Break the connection in the middle of the next answers longer than that."""
        self._wire.cuts, self._wire.cut_after = times, after

    def stop(self) -> None:
        self._wire.close()
        self.client.close()
        self._server.stop()
