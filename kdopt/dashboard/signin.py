"""Signing in to the dashboard: its token comes in a header or is typed once in the browser.

A person gets a session cookie for it, which is a random text of this process: it is worth nothing
after a restart, and the token itself never lies in a browser, an address or a log.
"""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qs
from wsgiref.types import WSGIEnvironment

from kdopt.errors import KdoptError
from kdopt.shown import format_count

TOKEN_VARIABLE = "KDOPT_DASHBOARD_TOKEN"  # noqa: S105 - a name
MIN_TOKEN = 16
"""Characters of a token."""

MIN_DIFFERENT = 6
"""Different ones among them: a token of one letter is the first that anybody tries."""

GUESSES, ALL_GUESSES, GUESSES_S = 20, 200, 60.0
"""Wrong tokens that one address, and all together, may try in how many seconds."""

LOGIN_PATH = "/login"
COOKIE = "kdopt_session"
FORM_LIMIT = 4096
SIGN_IN_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
SIGN_IN_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>kdopt dashboard</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }}
main {{ max-width: 24rem; margin: 15vh auto 0; padding: 0 1rem; }}
input, button {{ font: inherit; width: 100%; box-sizing: border-box; padding: .5rem;
  margin: .25rem 0 1rem; }}
</style>
<main>
<h1>kdopt dashboard</h1>
<form method="post" action="{action}">
<input name="username" value="kdopt" autocomplete="username" hidden>
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button>
</form>
<p role="status">{message}</p>
</main>
</html>
"""


class Reply(NamedTuple):
    """An answer that does not come from the dashboard itself."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


def make_text_reply(status: str, text: str, *headers: tuple[str, str]) -> Reply:
    """A reply of one line."""
    return Reply(status, [("Content-Type", "text/plain; charset=utf-8"), *headers], text.encode())


def check_token(token: str) -> str:
    """The token, if it is hard to guess.

    Raises:
        KdoptError: It is too short or too plain. The message does not show it.
    """
    fault = None
    letters = "".join(token.split())
    if len(letters) < MIN_TOKEN:
        fault = (
            f"has {format_count(len(letters), 'character')} besides blanks and "
            f"needs at least {MIN_TOKEN}"
        )
    elif not token.isprintable() or token != token.strip():
        fault = "has control characters, or blanks around it, which browsers do not send"
    elif len(set(letters)) < MIN_DIFFERENT:
        fault = (
            f"has {format_count(len(set(letters)), 'different character')} and needs at least "
            f"{MIN_DIFFERENT}"
        )
    if fault is None:
        return token
    raise KdoptError(
        f"the dashboard's token {fault}. "
        'Make one with: python3 -c "import secrets; print(secrets.token_urlsafe())"'
    )


class GuessLimit:
    """Counts wrong tokens, so that nobody can try them as fast as the dashboard answers.

    Args:
        now: The time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._times: defaultdict[str, list[float]] = defaultdict(list)

    def is_reached(self, client: str) -> bool:
        """Whether this address, or all together, may try no more for now."""
        with self._lock:
            self._forget_old()
            return len(self._times.get(client, ())) >= GUESSES or (
                sum(map(len, self._times.values())) >= ALL_GUESSES
            )

    def add(self, client: str) -> None:
        """Count a wrong token of this address."""
        with self._lock:
            self._times[client].append(self._now())

    def _forget_old(self) -> None:
        since = self._now() - GUESSES_S
        for client, times in list(self._times.items()):
            kept = [at for at in times if at > since]
            if kept:
                self._times[client] = kept
            else:
                del self._times[client]


class TokenGuard:
    """Decides who may read.

    Args:
        token: What to know, see :func:`check_token`.
    """

    def __init__(self, token: str) -> None:
        self._token = check_token(token).encode()
        self._session = secrets.token_urlsafe(32)
        self._limit = GuessLimit()

    def refuse(self, environ: WSGIEnvironment) -> Reply | None:
        """What to answer instead of the dashboard; ``None`` for somebody who may read."""
        # A session is too long to be guessed, and must go on while somebody guesses at the token.
        if not is_login(environ) and self._has_session(environ):
            return None
        given = _read_given_token(environ)
        client = str(environ.get("REMOTE_ADDR", ""))
        if given is not None and self._limit.is_reached(client):
            return make_text_reply(
                "429 Too Many Requests",
                f"Too many wrong tokens; try again in {GUESSES_S:.0f} seconds.\n",
                ("Retry-After", f"{GUESSES_S:.0f}"),
            )
        # compare_digest takes as long for a near miss as for a far one, so time tells nothing.
        knows = given is not None and hmac.compare_digest(given, self._token)
        if given and not knows:
            self._limit.add(client)
        if is_login(environ):
            return self._sign_in(environ) if knows else _make_sign_in_page("This is not the token.")
        if knows:
            return None
        if str(environ.get("PATH_INFO", "")).startswith("/api"):
            return make_text_reply(
                "401 Unauthorized",
                "Send the dashboard's token as 'Authorization: Bearer TOKEN'.\n",
                ("WWW-Authenticate", 'Bearer realm="kdopt dashboard"'),
            )
        return _make_sign_in_page("The token is the one that this dashboard was started with.")

    def _sign_in(self, environ: WSGIEnvironment) -> Reply:
        # The scheme that the reverse proxy was asked with; a client that lies harms itself only.
        secure = "; Secure" if environ.get("HTTP_X_FORWARDED_PROTO") == "https" else ""
        cookie = f"{COOKIE}={self._session}; Path=/; HttpOnly; SameSite=Strict{secure}"
        return make_text_reply(
            "303 See Other", "", ("Location", "/dashboard"), ("Set-Cookie", cookie)
        )

    def _has_session(self, environ: WSGIEnvironment) -> bool:
        for part in str(environ.get("HTTP_COOKIE", "")).split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE and hmac.compare_digest(
                _encode_header(value), _encode_header(self._session)
            ):
                return True
        return False


def is_login(environ: WSGIEnvironment) -> bool:
    """Whether a request hands in the form, the only one that is not a GET or HEAD."""
    return environ["REQUEST_METHOD"] == "POST" and environ.get("PATH_INFO") == LOGIN_PATH


def _read_given_token(environ: WSGIEnvironment) -> bytes | None:
    """The token that a request shows, right or wrong; ``None`` if it shows none."""
    if is_login(environ):
        return _read_posted_token(environ)
    scheme, _, given = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
    # Of the blanks only: other bytes that Python strips may be part of a letter.
    return _encode_header(given.strip(" \t")) if scheme.lower() == "bearer" else None


def _read_posted_token(environ: WSGIEnvironment) -> bytes:
    length = str(environ.get("CONTENT_LENGTH", ""))
    # A body without a known, small length could fill the memory.
    if not re.fullmatch("[0-9]{1,9}", length) or int(length) > FORM_LIMIT:
        return b""
    form = bytes(environ["wsgi.input"].read(int(length)))
    fields = parse_qs(form.decode("utf-8", "replace"))
    return fields.get("token", [""])[0].encode("utf-8", "replace")


def _make_sign_in_page(message: str) -> Reply:
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", SIGN_IN_POLICY),
        ("WWW-Authenticate", 'Bearer realm="kdopt dashboard"'),
    ]
    text = SIGN_IN_PAGE.format(action=LOGIN_PATH, message=message)
    return Reply("401 Unauthorized", headers, text.encode())


def _encode_header(header: str) -> bytes:
    # WSGI hands header bytes over as Latin-1 text.
    return header.encode("latin-1", "replace")
