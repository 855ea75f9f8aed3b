"""An object store that takes a connection and never answers is given up in time."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from kdopt.errors import ArtifactError
from kdopt.store import remote_artifacts
from kdopt.store.artifacts import Artifacts

pytest.importorskip("s3fs")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """The connections that a silent endpoint has taken."""
    found: list[socket.socket] = []
    server = socket.create_server(("127.0.0.1", 0))

    def take() -> None:
        while True:
            try:
                found.append(server.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=take)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield found
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()
    for connection in found:
        connection.close()


def test_a_call_waits_for_an_answer_once(
    taken: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**remote_artifacts._S3_OPTIONS["config_kwargs"], "read_timeout": 0.3}
    assert (
        remote_artifacts._S3_OPTIONS["config_kwargs"]["read_timeout"]
        <= remote_artifacts.REMOTE_RETRY_S / 2
    )
    monkeypatch.setitem(remote_artifacts._S3_OPTIONS, "config_kwargs", config)
    monkeypatch.setattr(remote_artifacts, "REMOTE_RETRY_S", 0.0)
    artifacts = Artifacts("s3://bucket/prefix")
    with pytest.raises(ArtifactError, match="it did not pass within"):
        artifacts.put(b"content")
    assert _count(taken, 1) == 1
    with pytest.raises(ArtifactError, match="it did not pass within"):
        artifacts.get("0" * 64)
    assert _count(taken, 2) == 2


def _count(taken: list[socket.socket], least: int) -> int:
    """Connections that were taken, once there are so many: that is another thread's work."""
    end = time.monotonic() + 600
    while len(taken) < least and time.monotonic() < end:
        time.sleep(0.01)
    return len(taken)


class Simple(http.server.BaseHTTPRequestHandler):
    """An endpoint that takes uploads, and never says that they may begin."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(404)

    def do_GET(self) -> None:
        self._answer(404)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200)

    def handle_expect_100(self) -> bool:
        return True

    def _answer(self, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_an_upload_does_not_ask_whether_it_may_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Simple) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        assert Artifacts("s3://bucket/prefix").put(b"content")
        server.shutdown()
