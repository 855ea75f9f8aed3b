"""Passwords: no message shows one, in whatever way a place was written."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from kdopt.errors import ArtifactError, StoreError
from kdopt.shown import hide_secrets, list_secrets, looks_like_url
from kdopt.store.faults import retry_call
from kdopt.store.location import label_of, parse_location, parse_place
from tests.hostile.commands import kdopt

SECRETS = ("GEHEIM", "TRESOR")
DEAD = "127.0.0.1:1"
"""Nobody listens there."""

URLS = {
    "plain": f"postgresql+psycopg://me:GEHEIM@{DEAD}/db",
    "an @ in the password": f"postgresql+psycopg://me:GEHEIM@TRESOR@{DEAD}/db",
    "a slash in the password": f"postgresql+psycopg://me:GEHEIM/TRESOR@{DEAD}/db",
    "a slash and an @": f"postgresql+psycopg://GEHEIM/x@TRESOR@{DEAD}/db",
    "a hash in the password": f"postgresql+psycopg://me:GEHEIM#TRESOR@{DEAD}/db",
    "a question mark": f"postgresql+psycopg://me:GEHEIM?TRESOR@{DEAD}/db",
    "a colon in the password": f"postgresql+psycopg://me:GEHEIM:TRESOR@{DEAD}/db",
    "a space in the password": f"postgresql+psycopg://me:GEHEIM TRESOR@{DEAD}/db",
    "escaped": f"postgresql+psycopg://me:GEHEIM%40TRESOR@{DEAD}/db",
    "in the user": f"postgresql+psycopg://GEHEIM@{DEAD}/db",
    "in a query": f"postgresql+psycopg://{DEAD}/db?password=GEHEIM",
    "in an odd query": f"postgresql+psycopg://{DEAD}/db?pwd=GEHEIM&sslkey=TRESOR",
    "of another database": f"mysql://me:GEHEIM@{DEAD}/db",
    "of no driver": f"postgresql+none://me:GEHEIM@{DEAD}/db",
    "with no number as its port": "postgresql+psycopg://me:GEHEIM@h:port/db",
    "with half an address": "postgresql+psycopg://me:GEHEIM@[::1/db",
    "sqlite with a host": "sqlite://me:GEHEIM@h/db",
    "one slash": f"postgresql:/me:GEHEIM@{DEAD}/db",
    "no slash": f"postgresql:me:GEHEIM@{DEAD}/db",
    "no scheme": f"me:GEHEIM@{DEAD}/db",
    "no scheme and a path": "me:GEHEIM/TRESOR@host/kdopt/db",
    "a token and a port": f"GEHEIM@{DEAD}/db",
    "java": f"jdbc:postgresql://{DEAD}/db?user=me&password=GEHEIM",
    "libpq": "host=h user=me password=GEHEIM dbname=db",
    "libpq, other names": "pwd=GEHEIM",
    "a query alone": "db?password=GEHEIM",
}
COMMANDS = {
    "--store": ["status", "--store", "{}"],
    "--store=": ["doctor", "--store={}"],
    "of report": ["report", "camp@{}"],
    "several of report": ["report", "--campaign", "x", "camp@{}"],
    "the campaign of report": ["report", "{}"],
    "of merge": ["merge", "{}"],
    "--artifacts": ["doctor", "--artifacts", "{}"],
    "--other-artifacts": ["merge", "store.db", "--other-artifacts", "{}"],
    "of the dashboard": ["dashboard", "--store", "{}"],
    "of recommend": ["recommend", "--gap", "3", "--store", "{}"],
    "an argument too many": ["status", "{}"],
    "as a command": ["{}"],
    "as an option": ["status", "--{}"],
    "as a campaign": ["status", "--campaign", "{}"],
    "as a file": ["spec", "{}"],
    "of init": ["init", "--store", "{}"],
}


def list_files(folder: Path) -> set[Path]:
    """All files and folders, but what SQLite keeps beside an open database."""
    return {p for p in folder.rglob("*") if not p.name.endswith(("-wal", "-shm"))}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_shows_a_password(
    here: Path, caplog: pytest.LogCaptureFixture, command: list[str]
) -> None:
    before = list_files(here)
    for name, url in URLS.items():
        ended = kdopt(*(part.format(url) for part in command))
        said = ended.out + ended.err + caplog.text
        assert not any(secret in said for secret in SECRETS), (name, said)
        assert "Traceback" not in said and ended.code == 2, (name, said)
    # In particular no file or folder that is called like a password.
    assert list_files(here) == before


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_a_place_in_the_environment_is_hidden_as_well(
    here: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("KDOPT_STORE", url)
    ended = kdopt("status")
    assert ended.code == 2 and not any(secret in ended.err for secret in SECRETS), ended


READ_AS = {
    "store.db": "store.db",
    "a b/c@d.db": "a b/c@d.db",
    "/runs/2026-11-27T20.15/kdopt.db": "/runs/2026-11-27T20.15/kdopt.db",
    "sqlite:///x/y.db": "x/y.db",
    "postgresql://me@h/db": "postgresql://h/db",
    "postgresql+psycopg://me:pw@h:5432/db?sslmode=require": "postgresql+psycopg://h:5432/db",
    "postgresql+psycopg://me:p%40w@[::1]:5432/db": "postgresql+psycopg://[::1]:5432/db",
    "postgresql+psycopg:///db?host=/var/run": "postgresql+psycopg:///db",
    # A name that is the password as well.
    "postgresql+psycopg://me:same@h/same": "postgresql+psycopg://h/***",
    "postgresql+psycopg://me:same@same/db": "postgresql+psycopg://***/db",
    "postgresql+psycopg://h/same?password=same": "postgresql+psycopg://h/***",
}


@pytest.mark.parametrize(("location", "shown"), READ_AS.items())
def test_a_store_is_shown_as_scheme_host_port_and_database(location: str, shown: str) -> None:
    assert label_of(parse_location(location)) == shown


@pytest.mark.parametrize("url", [u for u in URLS.values() if "://" not in u])
def test_what_looks_like_a_url_is_no_path(url: str) -> None:
    assert looks_like_url(url)
    with pytest.raises(StoreError, match="give a path, sqlite:///PATH"):
        parse_location(url)
    with pytest.raises(ArtifactError, match="give a folder"):
        parse_place(url)


def test_what_drivers_say_is_scrubbed(caplog: pytest.LogCaptureFixture) -> None:
    import sqlalchemy as sa

    url = make_url("postgresql+psycopg://TRESOR:GEH%40EIM@h/db?sslpassword=SCHLUESSEL")
    said = 'FATAL: auth failed for user "TRESOR" with GEH@EIM or GEH%40EIM, key SCHLUESSEL of db'

    def fail() -> None:
        raise sa.exc.OperationalError("SELECT", {}, Exception(said))

    with pytest.raises(StoreError) as caught, caplog.at_level(logging.WARNING):
        retry_call(url, 0.3, fail)
    for text in (str(caught.value), caplog.text):
        assert 'user "***" with *** or ***, key *** of db' in text
        assert not {"TRESOR", "EIM", "SCHLUESSEL"} & set(text.replace('"', " ").split())


def test_a_password_that_is_a_name_is_hidden_and_an_everyday_word_spoils_no_message(
    here: Path,
) -> None:
    for user, password in (("me", "db"), ("kdopt", "kdopt"), ("kdopt", "GEHEIM")):
        database = "db" if password == "db" else "kdopt"
        ended = kdopt("status", "--store", f"postgresql://{user}:{password}@{DEAD}/{database}")
        shown = database if password == "GEHEIM" else "***"
        assert ended.err.startswith(f"kdopt: error: store postgresql://{DEAD}/{shown}: "), ended


def test_ordinary_messages_stay_as_they_are() -> None:
    for text in (
        "see https://optuna.org/docs/index.html and mail me@example.org",
        "12:30:01 WARNING worker host:17 of a@b",
        "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
        "password authentication failed",
        '{"time": "12:30", "worker": "host:1:x", "note": "a @ b"}',
    ):
        assert hide_secrets(text) == text
    assert list_secrets("storage/kdopt.db") == [] == list_secrets("sqlite:///x.db")
    # A database that is called like its user stays readable, unless that is the password too.
    assert list_secrets("postgresql://kdopt@/kdopt?host=/tmp") == ["/tmp"]
    assert "kdopt" in list_secrets("postgresql://kdopt:kdopt@host/kdopt")
    assert "kdopt" in list_secrets("postgresql://kdopt:other-word@host/store")


def test_json_stays_json() -> None:
    for secret in ("?pwd=GEHEIM", "?x=GE\\HEIM", "#GEHEIM", "?password=GEHEIM"):
        text = json.dumps({"error": f'store "postgresql://me:GEHEIM@h/db{secret}" of "x"', "n": 1})
        hidden = hide_secrets(text)
        assert "HEIM" not in hidden and json.loads(hidden)["n"] == 1
        assert json.loads(hidden)["error"].endswith('" of "x"')
