from __future__ import annotations

import sys

from kdopt.launch.call import WorkerCall

URL = "postgresql+psycopg://me:s3cret@host/db"


def test_the_command_line_holds_what_is_public_and_the_environment_the_rest():
    call = WorkerCall(URL, "s3://bucket/x", "tiny", "cpu", "90m", 3)
    assert call.command() == [
        *(sys.executable, "-m", "kdopt", "worker", "--campaign", "tiny"),
        *("--device", "cpu", "--for", "90m", "--slots", "3"),
    ]
    assert call.environment()["KDOPT_STORE"] == URL
    assert call.environment()["KDOPT_ARTIFACTS"] == "s3://bucket/x"


def test_what_is_not_said_is_left_to_the_worker():
    call = WorkerCall(URL, "s3://bucket/x", "tiny")
    assert call.command()[-2:] == ["--campaign", "tiny"]


def test_a_call_that_is_printed_shows_no_password():
    assert "s3cret" not in repr(WorkerCall(URL, "s3://bucket/x", "tiny"))


def test_where_data_are_goes_along(monkeypatch):
    monkeypatch.delenv("KDOPT_DATA", raising=False)
    assert "KDOPT_DATA" not in WorkerCall(URL, "a", "tiny").environment()
    monkeypatch.setenv("KDOPT_DATA", "/data")
    assert WorkerCall(URL, "a", "tiny").environment()["KDOPT_DATA"] == "/data"
