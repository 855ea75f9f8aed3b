"""Requests as no browser of ours sends them, byte by byte: a plain answer, and the right one."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from kdopt.dashboard.server import make_app
from kdopt.dashboard.signin import COOKIE, GUESSES
from kdopt.errors import KdoptError
from tests.dashboard.serving import serving
from tests.hostile.test_dashboard import TOKEN, ask, location

__all__ = ["location"]  # a fixture
OK, FORBIDDEN, NOT_FOUND, NO_TOKEN = "200", "403", "404", "401"
STUDIES = "/api/studies"


@pytest.fixture(scope="module")
def port(location: str) -> Iterator[int]:
    with serving(location) as port:
        yield port


@pytest.fixture(scope="module")
def guarded(location: str) -> Iterator[int]:
    with serving(location, token=TOKEN) as port:
        yield port


def send(port: int, *lines: str, body: str = "") -> bytes:
    """The whole answer to these lines."""
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))
        connection.sendall(body.encode("latin-1"))
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def read_status(answer: bytes) -> str:
    return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else ""


HOSTS = {
    "localhost:0": OK,  # no other machine is called so, whatever the port
    "LOCALHOST": OK,
    "LocalHost:8080": OK,
    "[::1]:8080": OK,
    "localhost.": FORBIDDEN,
    "localhost.:80": FORBIDDEN,
    "127.0.0.1.": FORBIDDEN,
    "127.1": FORBIDDEN,
    "2130706433": FORBIDDEN,
    "0x7f.0.0.1": FORBIDDEN,
    "0": FORBIDDEN,
    "[::ffff:127.0.0.1]": FORBIDDEN,
    "[0:0:0:0:0:0:0:1]": FORBIDDEN,
    "[::1%25lo]": FORBIDDEN,
    "localhost:\xb2": FORBIDDEN,
    "localhost:-1": FORBIDDEN,
    "xn--localhost": FORBIDDEN,
    "local\xadhost": FORBIDDEN,
    "a." * 200 + "localhost": FORBIDDEN,
}


@pytest.mark.parametrize(("host", "status"), HOSTS.items(), ids=map(ascii, HOSTS))
def test_hosts(port: int, host: str, status: str) -> None:
    assert read_status(send(port, f"GET {STUDIES} HTTP/1.1", f"Host: {host}")) == status


TARGETS = {
    f"http://evil.example{STUDIES}": NOT_FOUND,
    f"http://localhost{STUDIES}": NOT_FOUND,
    f"//evil.example{STUDIES}": NOT_FOUND,
    f"localhost:80{STUDIES}": NOT_FOUND,
    "*": NOT_FOUND,
    "/../../etc/passwd": NOT_FOUND,
    "/static/../../../etc/passwd": FORBIDDEN,
    "/static/%2e%2e/%2e%2e/app.py": FORBIDDEN,
    "/static/..%5c..%5capp.py": NOT_FOUND,
    "/static//etc/passwd": NOT_FOUND,
    "/api/studies%00": NOT_FOUND,
    "/%0d%0aSet-Cookie:%20a=b": NOT_FOUND,
    "/" + "a/" * 30_000: NOT_FOUND,
    "/" + "a" * 70_000: "414",
}


@pytest.mark.parametrize(("target", "status"), TARGETS.items(), ids=lambda t: ascii(t)[:30])
def test_targets(port: int, target: str, status: str) -> None:
    answer = send(port, f"GET {target} HTTP/1.1", "Host: localhost")
    assert read_status(answer) == status and b"study_name" not in answer
    assert b"root:" not in answer and b"Traceback" not in answer and b"\r\nSet-Cookie" not in answer


@pytest.mark.parametrize("line", [f"GET {STUDIES}", f"GET {STUDIES} HTTP/1.0"])
def test_who_names_no_host_is_refused(port: int, line: str) -> None:
    answer = send(port, line)
    assert b"This host name is not served here" in answer and b"study_name" not in answer


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"]
)
@pytest.mark.parametrize("header", ["X-HTTP-Method-Override: DELETE", "Transfer-Encoding: chunked"])
def test_methods_that_write(port: int, method: str, header: str) -> None:
    answer = send(port, f"{method} {STUDIES}/1 HTTP/1.1", "Host: localhost", header)
    assert read_status(answer) == "405"
    read = send(port, f"GET {STUDIES}/1 HTTP/1.1", "Host: localhost", header)
    assert read_status(read) in (OK, "400")


def test_many_and_long_headers(port: int) -> None:
    many = [f"X-{n}: 1" for n in range(200)]
    assert read_status(send(port, f"GET {STUDIES} HTTP/1.1", "Host: localhost", *many)) == "431"
    long = f"Cookie: {COOKIE}={'a' * 70_000}"
    assert read_status(send(port, f"GET {STUDIES} HTTP/1.1", "Host: localhost", long)) == "431"


def sign_in(port: int) -> str:
    form = f"token={TOKEN}"
    lines = ["POST /login HTTP/1.1", "Host: localhost", f"Content-Length: {len(form)}"]
    answer = send(port, *lines, body=form).decode()
    return answer.partition("Set-Cookie: ")[2].partition(";")[0].partition("=")[2]


def make_cookies(session: str) -> dict[str, tuple[str, str]]:
    """Cookies, and what they are answered with."""
    return {
        "ours": (f"{COOKIE}={session}", OK),
        "ours among others": (f"a=b; {COOKIE}={session}; c", OK),
        "another one of the same name first": (f"{COOKIE}=x; {COOKIE}={session}", OK),
        "many of them": ("; ".join([f"{COOKIE}=x"] * 3000), NO_TOKEN),
        "of sixty thousand letters": (f"{COOKIE}={session}{'a' * 60_000}", NO_TOKEN),
        "of blanks and signs": (";=;==;  ; ;\t;" * 3000, NO_TOKEN),
        "in quotes": (f'{COOKIE}="{session}"', NO_TOKEN),
        "in a value": (f"a={COOKIE}={session}", NO_TOKEN),
        "in another one's name": (f"{COOKIE}2={session}", NO_TOKEN),
        "with a prefix": (f"__Host-{COOKIE}={session}", NO_TOKEN),
        "in capitals": (f"{COOKIE.upper()}={session}", NO_TOKEN),
        "cut off": (f"{COOKIE}={session[:-1]}", NO_TOKEN),
        "none": (f"{COOKIE}=", NO_TOKEN),
        "the token": (f"{COOKIE}={TOKEN}", NO_TOKEN),
        "no ASCII": (f"{COOKIE}=\xe9\xff\x00", NO_TOKEN),
    }


def test_cookies(guarded: int) -> None:
    for case, (cookie, status) in make_cookies(sign_in(guarded)).items():
        answer = send(guarded, f"GET {STUDIES} HTTP/1.1", "Host: localhost", f"Cookie: {cookie}")
        assert read_status(answer) == status, (case, answer[:200])
        assert b"Set-Cookie" not in answer and cookie.encode("latin-1") not in answer, case


INJECTED = [
    "x\r\nSet-Cookie: a=b",
    "x%0d%0aSet-Cookie:%20a=b",
    "</p><script>1</script>",
    "x" * 5000,
]


@pytest.mark.parametrize("token", INJECTED, ids=lambda t: ascii(t)[:20])
def test_what_is_typed_as_a_token_comes_back_nowhere(location: str, token: str) -> None:
    from io import BytesIO

    form = f"token={token}".encode()
    status, headers, body = ask(
        make_app(location, token=TOKEN),
        "/login",
        REQUEST_METHOD="POST",
        CONTENT_LENGTH=str(len(form)),
        **{"wsgi.input": BytesIO(form), "HTTP_X_FORWARDED_PROTO": "https\r\nSet-Cookie: a=b"},
    )
    assert status.startswith(NO_TOKEN) and "Set-Cookie" not in headers
    assert b"script>1" not in body and b"a=b" not in body


OTHERS = [("Sec-Fetch-Site: cross-site", "cors"), ("Sec-Fetch-Site: same-site", "no-cors")]


@pytest.mark.parametrize(("site", "mode"), OTHERS)
def test_pages_of_other_sites_may_link_and_no_more(
    guarded: int, port: int, site: str, mode: str
) -> None:
    other = [site, "Origin: https://evil.example", "Referer: https://evil.example/x"]
    embedded = send(
        port, f"GET {STUDIES} HTTP/1.1", "Host: localhost", *other, f"Sec-Fetch-Mode: {mode}"
    )
    assert read_status(embedded) == FORBIDDEN and b"study_name" not in embedded
    link = send(
        port, "GET /dashboard HTTP/1.1", "Host: localhost", *other, "Sec-Fetch-Mode: navigate"
    )
    assert read_status(link) == OK
    # Or such a page could use up the guesses of everybody.
    lines = ["POST /login HTTP/1.1", "Host: localhost", *other, "Sec-Fetch-Mode: navigate"]
    for _ in range(GUESSES + 5):
        tried = send(guarded, *lines)  # it is not asked for its body
        assert read_status(tried) == FORBIDDEN
    assert sign_in(guarded)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "\x00"])
def test_no_other_origin_is_let_in(port: int, origin: str) -> None:
    answer = send(port, f"GET {STUDIES} HTTP/1.1", "Host: localhost", f"Origin: {origin}")
    assert b"access-control-" not in answer.lower()
    assert b"Cross-Origin-Resource-Policy: same-origin" in answer


ALLOWED = {
    "kdopt.example.org": "kdopt.example.org",
    "KDOPT.example.org:8443": "kdopt.example.org:8443",
    "[fe80::1]": "[fe80::1]:80",
    "fe80::1": "[fe80::1]",
}


@pytest.mark.parametrize(("name", "host"), ALLOWED.items())
def test_host_names_are_allowed_as_people_write_them(location: str, name: str, host: str) -> None:
    app = make_app(location, allow_hosts=[name])
    assert ask(app, STUDIES, HTTP_HOST=host)[0].startswith(OK)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "http://a.example",
        "a.example/x",
        "a@b",
        "a,b",
        "*:*",
        "[a",
        "*",
        "*.a",
        "a\\b",
        "a%2e",
    ],
)
def test_host_names_that_no_browser_sends_are_refused(location: str, name: str) -> None:
    with pytest.raises(KdoptError, match="give the name alone"):
        make_app(location, allow_hosts=[name])
