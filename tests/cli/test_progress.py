from __future__ import annotations

import dataclasses
import io
import re
import time

import pytest
from rich.console import Console

from kdopt.campaign.stages import plan_studies
from kdopt.cli import progress as module
from kdopt.cli.progress import ProgressBar
from kdopt.store import leases, queries
from kdopt.store.planning import write_plan
from tests.conftest import make_outcome, make_record, new_store
from tests.terminal import STYLE


@pytest.fixture
def store(store_path, campaign):
    opened = new_store(store_path)
    write_plan(opened, make_record(campaign), plan_studies)
    yield opened
    opened.close()


def end_one(store, index, reason=None):
    study = queries.read_study_counts(store, "tiny")[index].study_id
    claim = leases.claim_trial(store, study, "far/9/1/elsewhere", 90)
    time.sleep(0.05)
    if reason is None:
        leases.finish_trial(store, claim, make_outcome(1.0))
    else:
        leases.fail_trial(store, claim, reason)


def counts(progress):
    """Ended, planned, left and failed trials."""
    status = progress.status
    return status.complete + status.failed, status.trials, status.left, status.failed


def test_lines_for_a_file_and_the_figures_for_the_end(store, capsys, monkeypatch):
    monkeypatch.setattr(module, "POLLING_SHARE", 1e9)
    monkeypatch.setattr(module, "LINE_EVERY_S", 1e9)
    end_one(store, 0)
    progress = ProgressBar(store, "tiny")
    with progress:
        assert counts(progress) == (1, 10, 9, 0)
        end_one(store, 0)
        end_one(store, 1)
        end_one(store, 1, "no")
        progress.update()
        assert counts(progress) == (4, 10, 6, 1)
    first, last = capsys.readouterr().err.splitlines()
    assert re.match(r"\d+ s: pretrain 1/2; tune 0/8; workers are starting", first)
    assert "pretrain 2/2; tune 2/8 1 failed" in last
    assert progress.summarize().startswith("tiny: 4 of 10 trials done, 3 of them now, in ")


def test_a_slow_store_is_asked_less_often(store, monkeypatch):
    asked = []
    status = module.read_status(store, "tiny")

    def slow(*_, **__):
        asked.append(time.monotonic())
        time.sleep(0.02)
        return status

    monkeypatch.setattr(module, "read_status", slow)
    with ProgressBar(store, "tiny") as _:
        pass
    progress = ProgressBar(store, "tiny")
    with progress:
        while len(asked) < 4:
            progress.update()
        assert asked[3] - asked[2] > 0.02 / module.POLLING_SHARE


def test_a_stop_is_answered_at_once_and_says_what_is_given_back(store, capsys):
    pretrain, tune, *_ = (s.study_id for s in queries.read_study_counts(store, "tiny"))
    leases.claim_trial(store, pretrain, "far/8/1/elsewhere", 90)
    leases.claim_trials(store, tune, "far/9/1/elsewhere", 90, 4)  # of which it has begun one
    progress = ProgressBar(store, "tiny")
    with progress:
        progress.announce_stop()
    assert "stop: giving 2 trials back ..." in capsys.readouterr().err.splitlines()


def test_a_line_counts_workers_and_not_what_each_has_claimed(store, capsys):
    tune = queries.read_study_counts(store, "tiny")[1].study_id
    for pid, n in ((8, 3), (9, 1)):
        leases.claim_trials(store, tune, f"far/{pid}/1/elsewhere", 90, n)
    with ProgressBar(store, "tiny") as _:
        pass
    assert "; 2 workers; " in capsys.readouterr().err.splitlines()[0]


def test_a_terminal_shows_the_time_the_end_the_workers_and_what_was_found(store, monkeypatch):
    end_one(store, 0)
    study = queries.read_study_counts(store, "tiny")[0].study_id
    leases.claim_trial(store, study, "far/9/1/elsewhere", 90)
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    monkeypatch.setattr(module, "make_console", lambda **_: console)
    progress = ProgressBar(store, "tiny")
    progress.results.answer = "distilling pays in 1 of 2 pairs: +1.50 pp net"
    with progress:
        progress.update()
        with console.capture() as captured:
            console.print(progress._render(console))
    lines = STYLE.sub("", captured.get()).splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) < 24
    assert re.search(r"\d s elapsed$", lines[0])
    assert "tiny: 1 of 10 trials complete" in lines[1] and "ETA about" in lines[1]
    assert any("pretrain #1" in line and "far" in line for line in lines)
    assert "so far: distilling pays in 1 of 2 pairs: +1.50 pp net" in lines


def test_a_quiet_view_says_nothing(store, capsys):
    progress = ProgressBar(store, "tiny", quiet=True)
    with progress:
        progress.update()
        progress.announce_stop()
    assert capsys.readouterr().err == ""


def test_stages_that_are_added_meanwhile_are_shown(store, campaign, capsys, monkeypatch):
    monkeypatch.setattr(module, "POLLING_SHARE", 1e9)
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)
    with ProgressBar(store, "tiny") as _:
        grown = dataclasses.replace(campaign, stages=("tune", "compare"))
        write_plan(store, make_record(grown), plan_studies)
    assert "compare 0/" in capsys.readouterr().err
