"""optuna-dashboard on a store, read only; beyond this machine, only with a token.

optuna-dashboard has no users and can rename, delete and edit studies. So it runs behind a wrapper
that lets nothing but reading through, and answers only to host names that it knows: without that
check any web page could reach it through a name of its own that resolves to 127.0.0.1.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from kdopt.dashboard.listing import HeldAnswer, ReadableStudies
from kdopt.dashboard.signin import (
    MIN_TOKEN,
    TOKEN_VARIABLE,
    Reply,
    TokenGuard,
    is_login,
    make_text_reply,
)
from kdopt.errors import KdoptError
from kdopt.shown import shorten
from kdopt.store.engines import open_optuna_storage
from kdopt.store.location import label_of, parse_location

_log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 60
"""Clients that send nothing for so long are disconnected."""

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
    # What lies in a cache is there for the next user of the machine, without the token.
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class ReadOnly:
    """A WSGI application that lets only GET and HEAD to a known host through.

    Args:
        app: The application behind.
        hosts: Host names it answers to, without port and brackets.
        token: What a reader must know; ``None`` lets everybody read.
        policy: What its pages may load and run, as a Content-Security-Policy.

    Raises:
        KdoptError: If the token is too short.
    """

    def __init__(
        self,
        app: WSGIApplication,
        hosts: Collection[str] = LOCAL_NAMES,
        token: str | None = None,
        policy: str = HEADERS["Content-Security-Policy"],
    ) -> None:
        self._app = app
        self._headers = {**HEADERS, "Content-Security-Policy": policy}
        self._hosts = {host.lower() for host in hosts}
        self._guard = None if token is None else TokenGuard(token)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer 403 to unknown hosts, 405 to writes, 401 to those without the token.

        Everybody else gets what the application answers.
        """
        reply = self._refuse_request(environ)
        if reply is not None:
            return send_reply(start_response, reply, environ["REQUEST_METHOD"])

        # The dashboard reads this header without asking whether it is there.
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")
        answer = HeldAnswer()
        body = self._app(environ, answer.start)
        if answer.status.startswith("500"):
            # It fails at numbers that name nothing, and has no other answer for a lost store.
            if hasattr(body, "close"):
                body.close()
            return send_reply(start_response, _NO_ANSWER, environ["REQUEST_METHOD"])
        ours = {name.lower() for name in self._headers}
        kept = [(name, value) for name, value in answer.headers if name.lower() not in ours]
        start_response(answer.status, [*kept, *self._headers.items()])
        return body

    def _refuse_request(self, environ: WSGIEnvironment) -> Reply | None:
        if parse_host_name(environ.get("HTTP_HOST", "")) not in self._hosts:
            return make_text_reply(
                "403 Forbidden",
                "This host name is not served here; whoever runs the dashboard can add it with "
                "--allow-host.\n",
            )
        if _is_of_another_site(environ):
            return make_text_reply(
                "403 Forbidden", "Pages of other sites may link here, and no more.\n"
            )
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD") and not (
            self._guard and is_login(environ)
        ):
            allow = ("Allow", "GET, HEAD")
            return make_text_reply("405 Method Not Allowed", "This dashboard only reads.\n", allow)
        refused = self._guard.refuse(environ) if self._guard else None
        return refused or (None if _can_be_asked(environ) else _NO_ANSWER)


def make_app(
    storage: str | BaseStorage,
    host: str = "127.0.0.1",
    token: str | None = None,
    allow_hosts: Collection[str] = (),
) -> ReadOnly:
    """The read-only dashboard of a store, as a WSGI application.

    Args:
        storage: An Optuna storage or the URL of one.
        host: A further host name to answer to.
        token: What a reader must know; ``None`` lets everybody read.
        allow_hosts: More host names, such as that of a reverse proxy.

    Raises:
        KdoptError: If the URL names no store that can be read, the token is too short, or a host
            name is none.
    """
    # It loads scikit-learn, two seconds in which a bad option could already have been refused.
    from optuna_dashboard import wsgi

    hosts = [*LOCAL_NAMES, host, *map(_read_host, allow_hosts)]
    if not isinstance(storage, str):
        return ReadOnly(ReadableStudies(wsgi(storage)), hosts, token)
    url = parse_location(storage)
    try:
        return ReadOnly(ReadableStudies(wsgi(_open_storage(url))), hosts, token)
    except (SQLAlchemyError, OptunaError, ImportError, AssertionError) as error:
        raise KdoptError(
            f"{label_of(url)}: no Optuna store can be read there "
            f"({type(error).__name__}). Check the storage URL, or plan a campaign into it first."
        ) from error


def _read_host(name: str) -> str:
    """A host name as ``--allow-host`` takes it, with or without a port."""
    read = parse_host_name(name) or parse_host_name(f"[{name}]")
    if not read:
        raise KdoptError(
            f"host name '{shorten(name, 100)}': no browser sends that; give the name alone, such "
            "as kdopt.example.org, without http://, path and *"
        )
    return read


def serve(
    storage_url: str,
    host: str = "127.0.0.1",
    port: int = 8080,
    on_ready: Callable[[str], None] | None = None,
    token: str | None = None,
    allow_hosts: Collection[str] = (),
) -> None:
    """Serve the dashboard until interrupted.

    Args:
        storage_url: URL of the store.
        host: Address to listen on; any but a loopback address or ``localhost`` needs a token.
        port: Port to listen on; 0 takes a free one.
        on_ready: Called with the dashboard's address once it can be opened.
        token: What a reader must know; ``None`` lets everybody read.
        allow_hosts: More host names to answer to, such as that of a reverse proxy.

    Raises:
        KdoptError: If the token is missing or too short, the address or port is taken or not
            allowed, or the store cannot be read.
    """
    with make_server(storage_url, host, port, token, allow_hosts) as server:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{server.server_port}"
        _log.info("dashboard on %s", address)
        if on_ready is not None:
            on_ready(address)
        server.serve_forever()


def make_server(
    storage_url: str,
    host: str = "127.0.0.1",
    port: int = 8080,
    token: str | None = None,
    allow_hosts: Collection[str] = (),
) -> WSGIServer:
    """The server that :func:`serve` runs, bound but not serving yet; port 0 takes a free one.

    Raises:
        KdoptError: As :func:`serve`.
    """
    if not host:
        raise KdoptError("host '': name an address to listen on, such as 127.0.0.1 or 0.0.0.0.")
    if token is None and not _is_loopback(host):
        raise KdoptError(
            f"host {host!r}: whoever reaches this address could read the store, so it needs a "
            f"token of at least {MIN_TOKEN} characters: set {TOKEN_VARIABLE} or give --token. "
            "Or use --host 127.0.0.1, and an SSH tunnel to reach it from elsewhere."
        )
    return bind_server(make_app(storage_url, host, token, allow_hosts), host, port)


def bind_server(app: WSGIApplication, host: str, port: int) -> WSGIServer:
    """A server of an application, bound but not serving yet; port 0 takes a free one.

    Raises:
        KdoptError: The address or port is taken or not allowed.
    """
    try:
        server = _Server6(host, port) if ":" in host else _Server(host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise KdoptError(
            f"port {port} on {host}: cannot listen there ({reason}). "
            "Choose another with --port or --host."
        ) from error
    server.set_app(app)
    return server


def parse_host_name(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets; empty if it is none.

    >>> parse_host_name("[::1]:8080"), parse_host_name("LocalHost:80"), parse_host_name("a:b")
    ('::1', 'localhost', '')
    """
    match = _HOST.fullmatch(header)
    return (match[1] or match[2]).lower() if match else ""


_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^\x00-\x20\x7f\s\[\]:/@,?#*%<>\\^|]+))(?::\d{1,5})?")

_NO_ANSWER = make_text_reply(
    "404 Not Found",
    "There is nothing at this address: it names no study or page of the store, or the store "
    "cannot be read now.\n",
)


def _is_of_another_site(environ: WSGIEnvironment) -> bool:
    """Whether a page of another site asks, other than by a link that somebody follows.

    By what browsers say, which know the address that they show: behind a reverse proxy, Origin
    names a host that this server may not know. Without it such a page could use up the guesses of
    the token for everybody.
    """
    site = environ.get("HTTP_SEC_FETCH_SITE", "same-origin")
    followed = (
        environ["REQUEST_METHOD"] == "GET" and environ.get("HTTP_SEC_FETCH_MODE") == "navigate"
    )
    return site not in ("same-origin", "none") and not followed


def _can_be_asked(environ: WSGIEnvironment) -> bool:
    """Whether the dashboard can take the numbers of an address: databases have 63 bits."""
    path, query = str(environ.get("PATH_INFO", "")), parse_qs(environ.get("QUERY_STRING", ""))
    numbers = re.findall(r"\d+", path) + query.get("after", [])
    return path.isascii() and all(re.fullmatch(r"-?[0-9]{1,18}", n) for n in numbers)


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT_S

    def handle(self) -> None:
        try:
            super().handle()
        except (TimeoutError, ConnectionError) as error:
            _log.debug("%s: %s", self.address_string(), error)

    def log_message(self, format: str, *args: object) -> None:
        _log.debug(format, *args)

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


def _open_storage(url: URL) -> BaseStorage:
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        # SQLite would make an empty file there.
        raise KdoptError(
            f"{label_of(url)}: there is no such store. "
            "Check the storage URL, or plan a campaign into it first."
        )
    # Nothing is created or upgraded: the dashboard only reads.
    return open_optuna_storage(url, as_it_is=True)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def send_reply(start_response: StartResponse, reply: Reply, method: str) -> Iterable[bytes]:
    """Send a reply under this dashboard's headers; without its body where only these are asked."""
    names = {name for name, _ in reply.headers}
    start_response(
        reply.status,
        [
            *reply.headers,
            ("Content-Length", str(len(reply.body))),
            *((name, value) for name, value in HEADERS.items() if name not in names),
        ],
    )
    return [] if method == "HEAD" else [reply.body]
