"""Programs that fork: each process has connections of its own, and what each writes is there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def run_program(url: str, *words: str) -> str:
    """What the program prints last."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.store.forking_program", *words],
        env={**os.environ, "KDOPT_STORE": url},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize("holder", ["store", "optuna"])
def test_what_a_copy_writes_outlives_the_parents_connections(store_url: str, holder: str) -> None:
    assert run_program(store_url, "write_on", holder) == "2"


def test_parent_and_copies_get_the_answers_to_their_own_questions(store_url: str) -> None:
    assert run_program(store_url, "ask_at_once") == "0"


def test_a_fork_waits_for_the_query_of_another_thread(store_url: str) -> None:
    assert run_program(store_url, "fork_in_a_query", "300") == "wrote 2"


def test_a_copy_that_was_made_in_the_middle_of_a_query_is_refused(store_url: str) -> None:
    said = run_program(store_url, "fork_in_a_query", "0")
    assert "get_context('spawn')" in said and said.endswith(" 1")
