from __future__ import annotations

import sys

from sqlalchemy.engine import make_url

from kdopt.launch.call import WorkerCall
from kdopt.store.database import open_store
from tests.postgres import PASSWORD

URL = "postgresql+psycopg://me:s3cret@host/db"


def test_the_command_line_holds_what_is_public_and_the_environment_the_rest():
    call = WorkerCall(URL, "s3://bucket/x", "tiny", "cpu", "90m", 3, 2, quiet=True)
    assert call.command() == [
        *(sys.executable, "-m", "kdopt", "worker", "--campaign", "tiny"),
        *("--device", "cpu", "--time-limit", "90m", "--workers", "3"),
        *("--slots-per-gpu", "2", "--quiet"),
    ]
    assert call.environment()["KDOPT_STORE"] == URL
    assert call.environment()["KDOPT_ARTIFACTS"] == "s3://bucket/x"


def test_what_is_not_said_is_left_to_the_worker():
    call = WorkerCall(URL, "s3://bucket/x", "tiny")
    assert call.command()[-2:] == ["--campaign", "tiny"]


def test_plugin_files_are_passed_on_where_they_were_given_and_not_otherwise():
    call = WorkerCall(URL, "s3://bucket/x", "tiny", plugins=("/a/one.py", "/b/two words.py"))
    assert call.command()[-4:] == ["--plugin", "/a/one.py", "--plugin", "/b/two words.py"]
    assert "--plugin" not in WorkerCall(URL, "s3://bucket/x", "tiny").command()


def test_a_call_that_is_printed_shows_no_password():
    assert "s3cret" not in repr(WorkerCall(URL, "s3://bucket/x", "tiny"))


def test_where_data_are_goes_along(monkeypatch):
    monkeypatch.delenv("KDOPT_DATA", raising=False)
    assert "KDOPT_DATA" not in WorkerCall(URL, "a", "tiny").environment()
    monkeypatch.setenv("KDOPT_DATA", "/data")
    assert WorkerCall(URL, "a", "tiny").environment()["KDOPT_DATA"] == "/data"


def test_a_password_may_stay_in_the_file_that_libpq_reads(postgres, tmp_path, monkeypatch):
    """Where job environments are kept in a cluster's accounting, the URL need not have it."""
    url = make_url(postgres.url(postgres.new_database()))
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"{url.host}:{url.port}:*:{url.username}:" + PASSWORD.replace(":", r"\:"))
    passwords.chmod(0o600)
    bare = url._replace(password=None).render_as_string(hide_password=False)
    assert "s3cret" not in bare
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    store = open_store(bare, create=True)
    with store.read() as connection:
        # The tests' server asks nobody for a password; libpq says which one it had at hand.
        assert connection.connection.dbapi_connection.info.password == PASSWORD
    store.close()
