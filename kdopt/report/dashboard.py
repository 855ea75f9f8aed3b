"""optuna-dashboard on a store, read only and for this machine only.

optuna-dashboard has no users and can rename, delete and edit studies. So it runs behind a wrapper
that lets nothing but reading through, and answers only to names of this machine: without that
check any web page could reach it through a host name that resolves to 127.0.0.1.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from kdopt.errors import KdoptError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from optuna.storages import BaseStorage

log = logging.getLogger(__name__)

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    # unsafe-eval: the dashboard's parallel coordinates compile WebGL code. Styles are inline.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class ReadOnly:
    """A WSGI application that lets only GET and HEAD to a known host through.

    Args:
        app: The application behind.
        hosts: Host names it answers to, without port and brackets.
    """

    def __init__(self, app: WSGIApplication, hosts: Collection[str] = LOCAL_NAMES) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer 403 to unknown hosts, 405 to writes, else what the application answers."""
        if host_name(environ.get("HTTP_HOST", "")) not in self._hosts:
            return _refuse(start_response, "403 Forbidden", "This host name is not served here.")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refuse(start_response, "405 Method Not Allowed", "This dashboard only reads.")

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
        ) -> Callable[[bytes], object]:
            ours = {name.lower() for name in HEADERS}
            kept = [(name, value) for name, value in headers if name.lower() not in ours]
            return start_response(status, [*kept, *HEADERS.items()], exc_info)

        # The dashboard reads this header without asking whether it is there.
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")
        return self._app(environ, start)


def make_app(storage: str | BaseStorage, host: str = "127.0.0.1") -> ReadOnly:
    """The read-only dashboard of a store, as a WSGI application.

    Args:
        storage: An Optuna storage or the URL of one.
        host: A further host name to answer to.

    Raises:
        KdoptError: If the URL names no store that can be read.
    """
    from optuna.exceptions import OptunaError
    from optuna_dashboard import wsgi

    if not isinstance(storage, str):
        return ReadOnly(wsgi(storage), [*LOCAL_NAMES, host])
    try:
        return ReadOnly(wsgi(_open(storage)), [*LOCAL_NAMES, host])
    except (SQLAlchemyError, OptunaError, ImportError, AssertionError) as error:
        # The URL may carry a password, so the message shows it without.
        raise KdoptError(
            f"{_shown(storage)}: no Optuna store can be read there "
            f"({type(error).__name__}). Check the storage URL, or plan a campaign into it first."
        ) from error


def serve(
    storage_url: str,
    host: str = "127.0.0.1",
    port: int = 8080,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the dashboard until interrupted.

    Args:
        storage_url: URL of the store.
        host: A loopback address or ``localhost``.
        port: Port to listen on; 0 takes a free one.
        on_ready: Called with the dashboard's address once it can be opened.

    Raises:
        KdoptError: If ``host`` is not this machine's own, the port is taken or not allowed, or
            the store cannot be read.
    """
    with make_server(storage_url, host, port) as server:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{server.server_port}"
        log.info("dashboard on %s", address)
        if on_ready is not None:
            on_ready(address)
        server.serve_forever()


def make_server(storage_url: str, host: str = "127.0.0.1", port: int = 8080) -> WSGIServer:
    """The server that :func:`serve` runs, bound but not serving yet; port 0 takes a free one.

    Raises:
        KdoptError: As :func:`serve`.
    """
    if not _is_loopback(host):
        raise KdoptError(
            f"host {host!r}: the dashboard has no login, so it serves this machine only. "
            "Use --host 127.0.0.1, and an SSH tunnel to reach it from elsewhere."
        )
    app = make_app(storage_url, host)
    try:
        server = _Server6(host, port) if ":" in host else _Server(host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise KdoptError(
            f"port {port} on {host}: cannot listen there ({reason}). Choose another with --port."
        ) from error
    server.set_app(app)
    return server


def host_name(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets.

    >>> host_name("[::1]:8080"), host_name("LocalHost:80")
    ('::1', 'localhost')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)

    def address_string(self) -> str:
        return str(self.client_address[0])


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # The base asks the resolver for our full name, which may wait for a network timeout.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", int(self.server_address[1])
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


def _open(storage_url: str) -> BaseStorage:
    from optuna.storages import RDBStorage

    url = make_url(storage_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        # SQLite would make an empty file there.
        raise KdoptError(
            f"{_shown(storage_url)}: there is no such store. "
            "Check the storage URL, or plan a campaign into it first."
        )
    # Nothing is created or upgraded: the dashboard only reads.
    return RDBStorage(storage_url, skip_compatibility_check=True, skip_table_creation=True)


def _shown(storage_url: str) -> str:
    try:
        return make_url(storage_url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "the storage URL"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _refuse(start_response: StartResponse, status: str, reason: str) -> Iterable[bytes]:
    body = f"{reason}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    if status.startswith("405"):
        headers.append(("Allow", "GET, HEAD"))
    start_response(status, [*headers, *HEADERS.items()])
    return [body]
