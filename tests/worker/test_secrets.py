"""The password of a store's URL shows nowhere: not in output, logs, reports, titles or errors."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.postgres import PASSWORD, PASSWORD_IN_URL
from tests.small_campaigns import make_spec

SPEC = make_spec(
    stages=["tune", "federate"],
    precision=None,
    control=False,
    pretrain={"epochs": 2},
    federate={"rounds": 3, "learning_rate": 1e6},
)


@pytest.fixture
def url(postgres):
    return postgres.url(postgres.new_database())


def run(folder: Path, url: str, *arguments: str) -> tuple[int, str, list[str]]:
    """A command's exit code, all it said, and the titles of it and its children meanwhile."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kdopt", *arguments],
        env={**os.environ, "KDOPT_STORE": url, "KDOPT_ARTIFACTS": str(folder / "artifacts")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
    )
    titles = []
    while process.poll() is None:
        try:
            family = [psutil.Process(process.pid)]
            family += family[0].children(recursive=True)
            titles += [" ".join(p.cmdline()) for p in family]
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.1)
    with process.stdout as said:
        return process.returncode, said.read(), titles


def secretless(*texts: str) -> None:
    for text in texts:
        for secret in (PASSWORD, PASSWORD_IN_URL, "s3cret"):
            assert secret not in text


def test_a_whole_campaign_on_postgres_shows_no_password(tmp_path, url):
    (tmp_path / "tiny.toml").write_text(SPEC)
    code, said, titles = run(tmp_path, url, "run", "tiny.toml", "--workers", "2")
    assert code == 1  # two trials diverge, so that failures are among what is shown
    assert "2 trials failed" in said
    assert any("worker" in title for title in titles)
    secretless(said, *titles)
    for command in (["status"], ["status", "--json"], ["doctor", "--deep"], ["report"], ["init"]):
        code, said, titles = run(tmp_path, url, *command)
        assert code == 0, said
        secretless(said, *titles)
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert any(p.suffix == ".log" for p in written) and any(p.suffix == ".html" for p in written)
    for path in written:
        assert b"s3cret" not in path.read_bytes(), path


@pytest.mark.parametrize(
    "change",
    [
        ("/kdopt", "/nosuch"),
        ("postgres:", "nobody:"),
        ("127.0.0.1", "nowhere.invalid"),
        ("postgresql+psycopg", "postgresql+psycopg2"),
        ("postgresql+psycopg", "oracle"),
    ],
    ids=lambda change: change[1],
)
def test_errors_show_no_password(tmp_path, url, change):
    broken = url.replace(*change)
    assert broken != url
    for command in (["status"], ["doctor"], ["plan", "tiny.toml"]):
        (tmp_path / "tiny.toml").write_text(SPEC)
        code, said, titles = run(tmp_path, broken, *command)
        assert code == 2, said
        assert "kdopt: error: store" in said and "Traceback" not in said
        secretless(said, *titles)
