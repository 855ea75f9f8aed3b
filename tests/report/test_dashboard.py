import http.client
import json
import socket
import threading

import optuna
import pytest

from kdopt.errors import KdoptError
from kdopt.report.dashboard import host_name, make_app, make_server, serve


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
    with make_server(url, port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port, method="GET", path="/api/studies", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
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
    assert [host_name(h) for h in ("a.b:1", "[::1]:2", "[::1]", "A")] == ["a.b", "::1", "::1", "a"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "example.org", "::", ""])
def test_other_hosts_than_this_machine_are_refused(url, host):
    with pytest.raises(KdoptError, match="this machine only"):
        serve(url, host=host, port=0)


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
