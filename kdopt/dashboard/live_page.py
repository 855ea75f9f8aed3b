"""A campaign's report page while its workers run, on 127.0.0.1, made anew when it is asked for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple
from wsgiref.simple_server import WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from kdopt.dashboard.server import ReadOnly, bind_server, send_reply
from kdopt.dashboard.signin import Reply, make_text_reply
from kdopt.errors import KdoptError

logger = logging.getLogger(__name__)

REFRESH_S = 30
"""Seconds between two looks of a browser."""

RENDERING_SHARE = 0.1
"""Share of the time that may be spent on making the page, as workers want the processor too."""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""The page brings its scripts and styles with it, and asks nobody for anything."""


class RenderedPage(NamedTuple):
    """The page at one moment; ``final``: nothing will change any more."""

    html: str
    final: bool


class LivePage:
    """A WSGI application of one page, which a browser loads again and again until it is final.

    Args:
        render: Makes the page.
    """

    def __init__(self, render: Callable[[], RenderedPage]) -> None:
        self._render = render
        self._last: RenderedPage | None = None
        self._next = 0.0
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the page at ``/`` and nothing elsewhere."""
        return send_reply(start_response, self._reply(environ), environ["REQUEST_METHOD"])

    def _reply(self, environ: WSGIEnvironment) -> Reply:
        if environ.get("PATH_INFO", "/") not in ("", "/"):
            return make_text_reply("404 Not Found", "Not here.\n")
        try:
            page = self._find_page()
        except KdoptError as error:
            return make_text_reply("503 Service Unavailable", f"{error}\n")
        headers = [("Content-Type", "text/html; charset=utf-8")]
        if not page.final:
            # The address stays, and with it whatever part of the page it names.
            headers.append(("Refresh", str(REFRESH_S)))
        return Reply("200 OK", headers, page.html.encode())

    def _find_page(self) -> RenderedPage:
        # One at a time: several open windows get the same page.
        with self._lock:
            began = time.monotonic()
            if self._last is None or (began >= self._next and not self._last.final):
                try:
                    self._last = self._render()
                except KdoptError as error:
                    if self._last is None:
                        raise
                    logger.warning("the page is that of before: %s", error)
                took_s = time.monotonic() - began
                # A little less than browsers wait, or every second look would see the old page.
                pause_s = max(REFRESH_S - 5, took_s / RENDERING_SHARE)
                self._next = time.monotonic() + pause_s
            return self._last


def make_page_server(render: Callable[[], RenderedPage], port: int) -> WSGIServer:
    """The server of a live page, bound to 127.0.0.1 but not serving yet; port 0 takes a free one.

    Raises:
        KdoptError: The port is taken or not allowed.
    """
    return bind_server(ReadOnly(LivePage(render), policy=POLICY), "127.0.0.1", port)
