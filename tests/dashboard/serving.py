"""A dashboard that answers on a free port of this machine while a test asks it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIServer

from kdopt.dashboard.server import make_server


@contextlib.contextmanager
def answering(server: WSGIServer) -> Iterator[int]:
    """Let a server answer until the end of the block, and close it; gives its port."""
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def serving(location: str, **settings: Any) -> Iterator[int]:
    """The dashboard of a store until the end of the block; gives its port."""
    with answering(make_server(location, port=0, **settings)) as port:
        yield port
