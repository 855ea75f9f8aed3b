"""`kdopt status --watch` as a person and as a script see it: real terminals, pipes, workers."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.cli import watch as watching
from kdopt.cli.interrupts import INTERRUPTED
from kdopt.cli.watch import CANNOT_BE_DONE, DONE, watch_campaign
from kdopt.errors import StoreError
from kdopt.store import leases, queries
from kdopt.store.database import open_store
from kdopt.store.planning import write_plan
from tests.conftest import make_outcome, make_record, new_store
from tests.terminal import Terminal
from tests.waiting import wait_until
from tests.worker.test_worker import SPEC, plan, start_worker

COMMAND = [sys.executable, "-m", "kdopt", "status", "--every", "0.2", "--store"]


@pytest.fixture
def planned(store, campaign):
    """Ten trials, of which none is done."""
    write_plan(store, make_record(campaign), plan_studies)
    return store


@pytest.fixture
def local(tmp_path, campaign):
    """The same in a file, for what has nothing to do with the database; and its path."""
    path = tmp_path / "store" / "kdopt.db"
    store = new_store(path)
    write_plan(store, make_record(campaign), plan_studies)
    yield store, str(path)
    store.close()


def finish_one(store):
    study = next(s for s in queries.read_study_counts(store, "tiny") if s.waiting).study_id
    claim = leases.claim_trial(store, study, "far/9/1/elsewhere/cpu", 90)
    leases.finish_trial(store, claim, make_outcome(1.0))


def finish_all(store, pause_s=0.0, reason=None):
    for state in queries.read_study_counts(store, "tiny"):
        while claim := leases.claim_trial(store, state.study_id, "far/9/1/elsewhere/cpu", 90):
            time.sleep(pause_s)
            if reason is None:
                leases.finish_trial(store, claim, make_outcome(1.0))
            else:
                leases.fail_trial(store, claim, reason)


def start(url, *options):
    return subprocess.Popen(
        [*COMMAND, url, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def the_rest(process):
    """What is still to come; ``communicate`` would drop what was read ahead."""
    said, wrong = process.stdout.read(), process.stderr.read()
    process.wait(600)
    process.stdout.close()
    process.stderr.close()
    return said, wrong


def test_a_killed_worker_is_seen_in_a_terminal(tmp_path):
    endless = SPEC.replace("[pretrain]\nepochs = 2\n", "[pretrain]\nepochs = 1000000\n")
    assert endless != SPEC
    store, _ = plan(tmp_path, text=endless)
    worker = start_worker(tmp_path)
    terminal = Terminal([*COMMAND, str(tmp_path / "kdopt.db")], (30, 100))
    try:
        text = terminal.wait_for(lambda text: f":{worker.pid} " in text)
        (line,) = (line for line in text.splitlines() if f":{worker.pid} " in line)
        assert " cpu " in line and "uniform/pretrain #0" in line and "participant=0" in line
        assert "gone" not in text
        assert "ETA unknown (no trial of pretrain has ended lately)" in text
        worker.kill()
        worker.communicate()
        text = terminal.wait_for(lambda text: "1 worker (1 gone)" in text)
        (line,) = (line for line in text.splitlines() if f":{worker.pid} " in line)
        assert line.rstrip().endswith("gone")
        assert "no worker is at work; start some with: kdopt launch local" in text
        assert "ETA" not in text.splitlines()[1]
        assert max(map(len, text.splitlines())) <= 100
        terminal.resize(14, 44)
        text = terminal.wait_for(lambda text: len(text.splitlines()) == 14)
        assert max(map(len, text.splitlines())) <= 44
        assert "gone: uniform/pretrain #0" in text
        terminal.press_ctrl_c()
        assert terminal.end() == INTERRUPTED
        said = terminal.said()
        assert "Traceback" not in said
        # The screen of before comes back, with the cursor, and then the last look.
        before, screen, _ = said.partition("\x1b[?1049h")
        assert screen and all(line.endswith(" ...") for line in before.splitlines())
        shown, _, left = said.rpartition("\x1b[?1049l")
        assert shown.endswith("\x1b[?25h") or "\x1b[?25h" in left
        assert "tiny: 0 of " in left and "gone" in left
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.communicate()
        terminal.close()
        store.close()


def test_it_redraws_in_place_until_all_is_done(planned, store_url):
    terminal = Terminal([*COMMAND, store_url], (24, 80))
    try:
        terminal.wait_for(lambda text: "0 of 10 trials complete" in text)
        for n in range(1, 10):
            finish_one(planned)
            terminal.wait_for(lambda text, n=n: f"{n} of 10 trials complete" in text)
        finish_all(planned)
        assert terminal.end() == DONE
        said = terminal.said()
        # Each drawing starts at the upper left, and none is longer than the screen.
        drawn = said.split("\x1b[?1049l")[0].split("\x1b[H")
        assert len(drawn) > 4
        assert max(text.count("\n") for text in drawn) < 24
        assert "10 of 10 trials complete" in said.rpartition("\x1b[?1049l")[2]
    finally:
        terminal.close()


def test_a_pipe_gets_plain_text_and_the_end(planned, store_url):
    process = start(store_url, "--watch")
    first = process.stdout.readline()
    assert first[:2] == "20"  # the time of the look
    finish_all(planned, pause_s=0.05)
    said, wrong = the_rest(process)
    assert (process.returncode, wrong) == (DONE, "")
    text = first + said
    assert all(c.isprintable() or c == "\n" for c in text)
    looks = text.strip().split("\n\n20")
    assert len(looks) > 1
    assert "0 of 10 trials complete" in looks[0]
    assert "10 of 10 trials complete" in looks[-1]
    assert "10 of 10 trials complete" not in looks[-2]


def test_a_reader_that_leaves_is_no_error(local):
    _, url = local
    process = start(url)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(600) == 1
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_quietly(local, number):
    process = start(local[1])
    process.stdout.readline()
    process.send_signal(number)
    _, wrong = the_rest(process)
    assert (process.returncode, wrong) == (INTERRUPTED, "")


def test_what_can_never_start_ends_it_with_1(local):
    planned, url = local
    study = queries.read_study_counts(planned, "tiny")[0].study_id
    process = start(url)
    process.stdout.readline()
    for _ in range(2):
        leases.fail_trial(planned, leases.claim_trial(planned, study, "me", 90), "no images")
    said, wrong = the_rest(process)
    assert process.returncode == CANNOT_BE_DONE
    assert "8 cannot start" in said
    assert "2 x no images" in said
    assert wrong == "what is left can never start\n"


def test_failed_trials_are_done_too(local, capsys):
    planned, _ = local
    finish_all(planned, reason="no")
    assert watch_campaign(planned, "tiny", 0.1) == DONE
    assert "10 x no" in capsys.readouterr().out


def test_json_is_one_object_per_line(local):
    planned, url = local
    process = start(url, "--json")
    first = json.loads(process.stdout.readline())
    finish_all(planned, pause_s=0.05)
    said, _ = the_rest(process)
    looks = [first, *map(json.loads, said.splitlines())]
    assert [look["complete"] for look in looks] == sorted(look["complete"] for look in looks)
    assert (looks[0]["complete"], looks[-1]["complete"]) == (0, 10)
    assert [look["done"] for look in looks] == [False] * (len(looks) - 1) + [True]
    one = subprocess.run(
        [*COMMAND[:-3], "--json", "--store", url], capture_output=True, text=True, check=True
    )
    assert json.loads(one.stdout).keys() == first.keys()


def test_a_database_that_restarts_is_noted_and_waited_for(postgres, postgres_url, campaign):
    with closing(open_store(postgres_url)) as store:
        write_plan(store, make_record(campaign), plan_studies)
    terminal = Terminal([*COMMAND, postgres_url], (24, 90))
    lines = start(postgres_url, "--json")
    heard = []
    ear = threading.Thread(target=lambda: heard.extend(map(json.loads, lines.stdout)), daemon=True)
    ear.start()
    try:
        terminal.wait_for(lambda text: "0 of 10" in text)
        # Who has never seen the store is not waited for: it may be the wrong one.
        wait_until(lambda: heard)
        postgres.stop()
        text = terminal.wait_for(lambda text: "no answer from the store for" in text)
        assert "0 of 10 trials complete" in text
        assert "s3cret" not in terminal.said()
        time.sleep(0.5)
        postgres.restart()
        terminal.wait_for(lambda text: "no answer" not in text)
        with closing(open_store(postgres_url)) as store:
            finish_all(store)
        assert terminal.end() == DONE
        assert lines.wait(600) == DONE
        ear.join(600)
    finally:
        terminal.close()
        lines.kill()
        wrong = lines.communicate()[1]
    assert wrong == ""
    assert "Traceback" not in terminal.said()
    errors = [look["error"] for look in heard if "error" in look]
    assert errors and not any("s3cret" in error for error in errors)
    assert "error" not in heard[0] and heard[-1]["done"]


def test_a_store_that_never_comes_back_is_given_up(local, monkeypatch, capsys):
    planned, _ = local
    status = watching.read_status(planned, "tiny")
    asked = []

    def gone(*_):
        asked.append(time.monotonic())
        if len(asked) == 1:
            return status
        if len(asked) == 5:  # not after a time, in which a busy machine may ask but once
            monkeypatch.setattr(watching, "GIVE_UP_S", 0.0)
        raise StoreError("store x: gone")

    monkeypatch.setattr(watching, "read_status", gone)
    monkeypatch.setattr(watching, "GIVE_UP_S", 600.0)
    with pytest.raises(StoreError, match="gone"):
        watch_campaign(planned, "tiny", 0.05)
    assert len(asked) == 5
    assert "no answer from the store for " in capsys.readouterr().out


def test_a_slow_store_is_asked_less_often(local, monkeypatch):
    planned, _ = local
    asked = []
    status = watching.read_status(planned, "tiny")

    def slow(*_):
        asked.append(time.monotonic())
        time.sleep(0.05)
        return status if len(asked) < 3 else dataclasses.replace(status, left=0)

    monkeypatch.setattr(watching, "read_status", slow)
    watch_campaign(planned, "tiny", 0.01)
    assert asked[2] - asked[1] > 0.05 / watching.WATCHING_SHARE


def test_an_impossible_time_is_refused(local):
    _, url = local
    command = [*COMMAND[:-3], "--every", "0", "--store", url]
    end = subprocess.run(command, capture_output=True, text=True, check=False)
    assert end.returncode == 2
    assert "time '0'" in end.stderr and "Traceback" not in end.stderr


def test_a_dumb_terminal_and_a_poor_encoding_get_plain_text(local):
    planned, url = local
    finish_all(planned, reason="\u00e9chec \u2501")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "TERM": "dumb"}
    end = subprocess.run([*COMMAND, url], capture_output=True, env=environment, check=False)
    assert end.returncode == DONE
    assert b"10 x ?chec ?" in end.stdout
    assert b"\x1b" not in end.stdout
