"""The dashboard: odd hosts, odd numbers, plain tokens and many guesses get a plain refusal."""

from __future__ import annotations

import http.client
import io
from typing import Any

import optuna
import pytest

from kdopt.dashboard import signin
from kdopt.dashboard.server import ReadOnly, make_app, parse_host_name
from kdopt.dashboard.signin import GUESSES, GuessLimit, check_token
from kdopt.errors import KdoptError
from tests.dashboard.serving import serving

TOKEN = "0123456789abcdef-Xy"


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/kdopt.db"
    storage = optuna.storages.RDBStorage(url)
    study = optuna.create_study(storage=storage, study_name="toy/uniform/tune/t00-s01")
    study.optimize(lambda trial: trial.suggest_float("alpha", 0, 1), n_trials=2)
    storage.engine.dispose()
    return url


@pytest.fixture(scope="module")
def app(location: str) -> ReadOnly:
    return make_app(location)


@pytest.fixture(scope="module")
def guarded(location: str) -> ReadOnly:
    return make_app(location, token=TOKEN)


def ask(app: ReadOnly, address: str, **environ: Any) -> tuple[str, dict[str, str], bytes]:
    """Status, headers and body of one GET."""
    path, _, query = address.partition("?")
    said: list[tuple[str, dict[str, str]]] = []
    body = app(
        {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "HTTP_HOST": "localhost",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.url_scheme": "http",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            **environ,
        },
        lambda status, headers, *_: said.append((status, dict(headers))),  # type: ignore[arg-type]
    )
    content = b"".join(body)
    if hasattr(body, "close"):
        body.close()
    ((status, headers),) = said
    return status, headers, content


HOSTS = (
    "[::1].evil.example", "[::1]evil.example", "127.0.0.1:evil.example", "127.0.0.1:80:80",
    "127.0.0.1,evil.example", "localhost,localhost", "localhost:80,evil.example", "localhost@evil",
    "evil.example@localhost", "localhost/evil", "localhost evil", "[localhost]", "[]", "[::1",
    "::1", "localhost:", "localhost:123456", "localhost#", "localhost?", "localhost\x00",
    "localhost\t", "", ":80", "localhost.evil.example", "\uff4c\uff4f\uff43alhost",
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_only_whole_names_of_this_machine_are_served(app: ReadOnly, host: str) -> None:
    assert ask(app, "/api/studies", HTTP_HOST=host)[0].startswith("403")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080"])
def test_such_names_are_read_with_and_without_a_port(host: str) -> None:
    assert parse_host_name(host) in ("localhost", "127.0.0.1", "::1")


@pytest.mark.parametrize("other", ["evil.example", "localhost"])
def test_two_host_headers_are_refused(location: str, other: str) -> None:
    with serving(location) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        connection.putrequest("GET", "/api/studies", skip_host=True)
        for host in ("localhost", other):
            connection.putheader("Host", host)
        connection.endheaders()
        assert connection.getresponse().status == 403
        connection.close()


NUMBERS = (
    "0", "2", "-1", "9" * 19, "9223372036854775808", "18446744073709551616", "9" * 5000, "1e3",
    "abc", "\xd9\xa3", "%00", "1/../2", "0" * 30 + "1", "1.5", "nan", "", " ",
)  # fmt: skip
PATHS = (
    "/api/studies/{}", "/api/studies/{}/param_importances", "/api/studies/{}/plot/contour",
    "/api/studies/1/plot/{}", "/api/studies/1?after={}", "/api/studies/{0}?after={0}", "/csv/{}",
    "/csv/1?trial_ids={}", "/artifacts/{}/1", "/artifacts/1/{}/ab", "/dashboard/studies/{}",
    "/static/{}", "/{}",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_odd_numbers_are_not_found_and_break_nothing(app: ReadOnly, path: str) -> None:
    for number in NUMBERS:
        status, headers, _ = ask(app, path.format(number))
        assert not status.startswith("5"), (number, status)
        assert headers["Cache-Control"] == "no-store"
    assert ask(app, "/api/studies/1")[0].startswith("200")
    assert ask(app, "/csv/1")[2].startswith(b"Number,")


@pytest.mark.parametrize("path", ["/dashboard", "/api/studies", "/static/bundle.js", "/nowhere"])
def test_nothing_is_left_in_a_cache(app: ReadOnly, guarded: ReadOnly, path: str) -> None:
    for one in (app, guarded):
        headers = ask(one, path)[1]
        assert headers["Cache-Control"] == "no-store"


PLAIN = (
    " " * 40, "\t" * 16, "\u00a0" * 20, "a b c d e f g", "a" * 40, "ab" * 20, "01234 " * 2,
    f" {TOKEN}", f"{TOKEN}\n", f"{TOKEN}\x00{TOKEN}", f"\u202e{TOKEN}", "\u3000" * 16,
)  # fmt: skip


@pytest.mark.parametrize("token", PLAIN)
def test_a_plain_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(KdoptError, match=r"token has .* Make one with") as caught:
        check_token(token)
    assert token not in str(caught.value)


@pytest.fixture
def fresh(location: str) -> ReadOnly:
    return make_app(location, token=TOKEN)


def guess(app: ReadOnly, token: str, client: str = "10.0.0.1") -> str:
    return ask(app, "/api/studies", HTTP_AUTHORIZATION=f"Bearer {token}", REMOTE_ADDR=client)[0]


def test_guesses_are_few_and_a_session_goes_on_meanwhile(fresh: ReadOnly) -> None:
    form = f"token={TOKEN}".encode()
    posted = {
        "REQUEST_METHOD": "POST", "REMOTE_ADDR": "10.0.0.1", "CONTENT_LENGTH": str(len(form)),
    }  # fmt: skip
    signed_in = ask(fresh, "/login", **posted, **{"wsgi.input": io.BytesIO(form)})
    cookie = signed_in[1]["Set-Cookie"].partition(";")[0]
    answers = [guess(fresh, f"{TOKEN}{n}")[:3] for n in range(GUESSES + 5)]
    assert answers == ["401"] * GUESSES + ["429"] * 5
    # Not even the token: the answer would tell that it is the one.
    assert guess(fresh, TOKEN).startswith("429")
    again = ask(fresh, "/login", **posted, **{"wsgi.input": io.BytesIO(form)})
    assert again[0].startswith("429") and again[1]["Retry-After"] == "60"
    assert guess(fresh, TOKEN, "10.0.0.2").startswith("200")
    seen = ask(fresh, "/api/studies", HTTP_COOKIE=cookie, REMOTE_ADDR="10.0.0.1")
    assert seen[0].startswith("200")
    # Who shows no token is asked for it as before.
    assert ask(fresh, "/dashboard", REMOTE_ADDR="10.0.0.1")[0].startswith("401")


def test_guesses_of_many_addresses_are_few_together_and_forgotten_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signin, "ALL_GUESSES", 30)
    now = [0.0]
    limit = GuessLimit(lambda: now[0])
    for n in range(30):
        assert not limit.is_reached(f"10.0.0.{n}")
        limit.add(f"10.0.0.{n}")
    assert limit.is_reached("10.0.0.99")
    now[0] = signin.GUESSES_S
    assert not limit.is_reached("10.0.0.99")
    assert not limit._times
