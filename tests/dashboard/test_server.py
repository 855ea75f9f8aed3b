import http.client
import json
import os
import socket
import subprocess
import sys
from urllib.parse import urlencode

import optuna
import pytest

from kdopt.dashboard.server import make_app, parse_host_name, serve
from kdopt.errors import KdoptError
from tests.conftest import new_store
from tests.dashboard.serving import serving

TOKEN = "0123456789abcdef-Xy"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    address = f"sqlite:///{tmp_path_factory.mktemp('store')}/kdopt.db"
    storage = optuna.storages.RDBStorage(address)
    study = optuna.create_study(storage=storage, study_name="toy/uniform/tune/t00-s01")
    study.enqueue_trial({"alpha": 0.5})
    study.optimize(lambda trial: trial.suggest_float("alpha", 0, 1), n_trials=2)
    storage.engine.dispose()
    return address


@pytest.fixture(scope="module")
def port(url):
    with serving(url) as port:
        yield port


@pytest.fixture(scope="module")
def guarded(url):
    with serving(url, token=TOKEN) as port:
        yield port


def ask(port, method="GET", path="/api/studies", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_studies_and_the_page_are_served(port):
    response, body = ask(port)
    assert response.status == 200
    names = [s["study_name"] for s in json.loads(body)["study_summaries"]]
    assert names == ["toy/uniform/tune/t00-s01"]
    response, body = ask(port, path="/dashboard")
    assert response.status == 200 and b"bundle.js" in body
    response, body = ask(port, path="/static/bundle.js")
    assert response.status == 200 and len(body) > 100_000


def test_every_answer_carries_the_safety_headers_once(port):
    for path in ("/dashboard", "/api/studies", "/nowhere"):
        headers = ask(port, path=path)[0].headers
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"]
        (policy,) = headers.get_all("Content-Security-Policy")
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy


def test_head_answers_without_a_body(port):
    response, body = ask(port, "HEAD", "/dashboard")
    assert (response.status, body) == (200, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get"])
def test_nothing_can_be_written(port, method):
    response, _ = ask(port, method, "/api/studies/1")
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"
    assert b"t00-s01" in ask(port)[1]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_other_host_names_are_refused(port, host):
    assert ask(port, Host=host)[0].status == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080"])
def test_names_of_this_machine_are_served(port, host):
    assert ask(port, Host=host)[0].status == 200


def test_host_names_are_read_without_port_and_brackets():
    assert [parse_host_name(h) for h in ("a.b:1", "[::1]:2", "[::1]", "A")] == [
        "a.b",
        "::1",
        "::1",
        "a",
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "example.org", "::"])
def test_another_address_than_this_machines_needs_a_token(url, host):
    with pytest.raises(KdoptError, match="KDOPT_DASHBOARD_TOKEN or give --token"):
        serve(url, host=host, port=0)


def test_no_address_is_not_every_address(url):
    with pytest.raises(KdoptError, match="name an address"):
        serve(url, host="", port=0, token=TOKEN)


@pytest.mark.parametrize("token", ["", TOKEN[:15]])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_short_token_is_refused_and_not_shown(url, host, token):
    with pytest.raises(KdoptError, match=f"has {len(token)} characters") as caught:
        serve(url, host=host, port=0, token=token)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["/", "/dashboard", "/dashboard/studies/1", "/static/bundle.js", "/login", "/nowhere"]
)
def test_without_the_token_there_is_nothing_but_a_page_that_asks_for_it(guarded, path):
    response, body = ask(guarded, path=path)
    assert response.status == 401
    assert b'<form method="post" action="/login">' in body
    assert b"bundle" not in body and TOKEN.encode() not in body
    (policy,) = response.headers.get_all("Content-Security-Policy")
    assert "default-src 'none'" in policy and "form-action 'self'" in policy
    assert response.headers["Cache-Control"] == "no-store"


def test_api_clients_are_told_how_to_send_the_token(guarded):
    response, body = ask(guarded)
    assert response.status == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert b"Authorization: Bearer" in body and b"t00-s01" not in body
    assert ask(guarded, "HEAD")[1] == b""


def test_the_token_in_a_header_opens_everything_that_can_be_read(guarded):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    response, body = ask(guarded, **headers)
    assert response.status == 200 and b"t00-s01" in body
    assert ask(guarded, path="/dashboard", **headers)[0].status == 200
    assert ask(guarded, Authorization=f"bearer  {TOKEN}")[0].status == 200


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.upper()}",
        "Bearer \xe4\xf6\xfc",
    ],
)
def test_anything_else_in_the_header_does_not(guarded, value):
    assert ask(guarded, Authorization=value)[0].status == 401


def sign_in(port, token=TOKEN, **headers):
    headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    return ask(port, "POST", "/login", urlencode({"token": token}), **headers)


def test_a_person_signs_in_once_and_reads_with_a_cookie(guarded):
    response, body = sign_in(guarded)
    assert (response.status, response.headers["Location"], body) == (303, "/dashboard", b"")
    session, *flags = response.headers["Set-Cookie"].split("; ")
    assert sorted(flags) == ["HttpOnly", "Path=/", "SameSite=Strict"]
    assert TOKEN not in session
    assert ask(guarded, Cookie=session)[0].status == 200
    assert ask(guarded, Cookie=f"other=1; {session}; more=2")[0].status == 200
    assert ask(guarded, Cookie=f"{session}x")[0].status == 401
    assert ask(guarded, Cookie=f"kdopt_session={TOKEN}")[0].status == 401
    assert ask(guarded, Cookie="kdopt_session=")[0].status == 401
    secure = sign_in(guarded, **{"X-Forwarded-Proto": "https"})[0].headers["Set-Cookie"]
    assert secure.endswith("; Secure")


@pytest.mark.parametrize("token", ["", TOKEN + " ", TOKEN[1:], "\u2603"])
def test_a_wrong_token_gives_no_cookie(guarded, token):
    response, body = sign_in(guarded, token)
    assert response.status == 401
    assert "Set-Cookie" not in response.headers
    assert b"This is not the token." in body


def test_forms_that_are_no_forms_give_no_cookie(guarded):
    for body, headers in (
        (b"\xff\xfe\x00", {}),
        (b"token=" + b"x" * 100_000, {}),
        (b"", {"Content-Length": "-1"}),
        (b"", {"Content-Length": "many"}),
    ):
        response, _ = ask(guarded, "POST", "/login", body, **headers)
        assert response.status == 401 and "Set-Cookie" not in response.headers


def test_who_signed_in_can_only_read(guarded):
    session = sign_in(guarded)[0].headers["Set-Cookie"].split(";")[0]
    for headers in ({"Cookie": session}, {"Authorization": f"Bearer {TOKEN}"}):
        for method, path in (
            ("DELETE", "/api/studies/1"),
            ("POST", "/api/studies/1/rename"),
            ("POST", "/api/studies"),
            ("PUT", "/login"),
            ("POST", "/login/x"),
        ):
            assert ask(guarded, method, path, **headers)[0].status == 405
        assert b"t00-s01" in ask(guarded, **headers)[1]


def test_without_a_token_there_is_no_form_to_post(port):
    assert sign_in(port)[0].status == 405
    assert ask(port, path="/login")[0].status == 404


def test_a_session_ends_with_its_process(url, guarded):
    session = sign_in(guarded)[0].headers["Set-Cookie"].split(";")[0]
    with serving(url, token=TOKEN) as another:
        assert ask(another, Cookie=session)[0].status == 401


def test_a_token_is_asked_for_on_this_machine_too_and_may_have_any_letters(url):
    token = "schl\xfcssel \u2603 & = + %41"
    with serving(url, token=token) as port:
        assert ask(port)[0].status == 401
        assert sign_in(port, token)[0].status == 303
        header = f"Bearer {token}".encode().decode("latin-1")
        assert ask(port, Authorization=header)[0].status == 200


def test_every_address_is_served_with_a_token_under_allowed_names_only(url):
    allowed = ["kd.example.org", "[2001:db8::1]"]
    with serving(url, host="0.0.0.0", token=TOKEN, allow_hosts=allowed) as port:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        for host in ("localhost", "0.0.0.0:1", "KD.example.org:443", "[2001:db8::1]:8080"):
            assert ask(port, Host=host, **headers)[0].status == 200
        for host in ("example.org", "kd.example.org.evil.example", "2001:db8::1", "192.168.0.7"):
            response, body = ask(port, Host=host, **headers)
            assert response.status == 403 and b"--allow-host" in body
            assert sign_in(port, Host=host)[0].status == 403


def test_a_silent_client_does_not_keep_others_waiting(guarded):
    with socket.create_connection(("127.0.0.1", guarded)) as silent:
        silent.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
        assert ask(guarded, path="/login")[0].status == 401


def test_the_command_takes_the_token_from_the_environment_and_never_shows_it(store_path):
    new_store(store_path).close()

    def run(*options, token):
        return subprocess.run(
            [sys.executable, "-m", "kdopt", "dashboard", "--store", str(store_path), *options],
            env={**os.environ, "KDOPT_DASHBOARD_TOKEN": token},
            capture_output=True,
            text=True,
            check=False,
        )

    assert TOKEN not in run("--help", token=TOKEN).stdout
    short = run("--host", "0.0.0.0", token="tooshort")
    assert (short.returncode, "tooshort" in short.stderr) == (2, False)
    assert short.stderr.count("kdopt: error:") == 1
    none = run("--host", "0.0.0.0", token="")
    assert none.returncode == 2 and "needs a token" in none.stderr
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        busy = run("--host", "0.0.0.0", "--port", port, token=TOKEN)
    assert busy.returncode == 2 and f"port {port}" in busy.stderr
    assert TOKEN not in busy.stderr + busy.stdout


def test_a_port_in_use_is_named_with_the_fix(url):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(KdoptError, match=rf"port {port} .*--port"):
            serve(url, port=port)


def test_a_missing_store_is_not_created(tmp_path):
    path = tmp_path / "missing.db"
    with pytest.raises(KdoptError, match="no such store"):
        make_app(f"sqlite:///{path}")
    assert not path.exists()


def test_a_file_that_is_no_store_is_refused_without_its_password(tmp_path):
    path = tmp_path / "other.db"
    path.write_text("not a database, but long enough to be read as the header of one" * 30)
    with pytest.raises(KdoptError, match="no Optuna store"):
        make_app(f"sqlite:///{path}")
    with pytest.raises(KdoptError) as caught:
        make_app("postgresql+nowhere://user:secret@localhost/kdopt")
    assert "secret" not in str(caught.value)


def test_a_storage_object_serves_as_well(url):
    app = make_app(optuna.storages.InMemoryStorage())
    seen = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/api/studies",
        "HTTP_HOST": "localhost",
        "wsgi.input": None,
    }
    body = b"".join(app(environ, lambda status, headers, exc=None: seen.append(status)))
    assert seen == ["200 OK"]
    assert json.loads(body) == {"study_summaries": []}
