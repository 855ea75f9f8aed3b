"""Trials that are given back again and again are counted, and the status says what to do."""

from __future__ import annotations

import dataclasses
import re
import time

import pytest
import safetensors.torch
import sqlalchemy as sa

from kdopt.campaign.stages import plan_studies
from kdopt.cli.status_view import render_plain_text
from kdopt.cli.worker import print_worker_summary
from kdopt.outcome import Scores
from kdopt.service.status import read_status
from kdopt.store import leases, long_trials
from kdopt.store.given_back import read_given_back
from kdopt.store.planning import write_plan
from kdopt.store.queries import read_study_counts
from kdopt.train.models import make_model
from kdopt.worker.summary import WorkerSummary
from kdopt.worker.worker import run_trials
from tests.conftest import make_campaign, make_outcome, make_record
from tests.hostile.world import ENGINE, kdopt
from tests.worker.test_worker import plan


@pytest.fixture
def planned(store):
    write_plan(store, make_record(make_campaign()), plan_studies)
    return store


def claim(store):
    state = next(s for s in read_study_counts(store, "tiny") if s.waiting)
    return leases.claim_trial(store, state.study_id, "worker", 60)


def test_what_is_given_back_is_counted_until_it_gets_further(planned):
    assert read_given_back(planned, "tiny") is None
    leases.release_trial(planned, claim(planned))  # a fault of the world: that says why itself
    assert read_given_back(planned, "tiny") is None
    for times in (1, 2, 3):
        leases.release_trial(planned, claim(planned), stopped=True)
        found = read_given_back(planned, "tiny")
        assert found is not None and (found.trials, found.times) == (1, times)
        assert 0 <= found.longest_s < 600
    held = claim(planned)
    long_trials.save_state(planned, held, 5, "0" * 64)
    leases.release_trial(planned, held, stopped=True)
    assert read_given_back(planned, "tiny") is None
    leases.release_trial(planned, claim(planned), stopped=True)
    assert read_given_back(planned, "tiny").times == 1
    leases.finish_trial(planned, claim(planned), make_outcome(0.5))
    assert read_given_back(planned, "tiny") is None
    rows = planned.select_rows("SELECT 1 FROM trial_user_attributes WHERE key = 'kd:given_back'")
    assert rows == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"times": "x"}', '{"times": 1e999}', "[" * 99999])
def test_a_count_that_kdopt_did_not_write_counts_nothing(world, text):
    held = claim(world.store)
    with world.store.write() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
                "VALUES (:trial, 'kd:given_back', :text)"
            ),
            {"trial": held.trial_id, "text": text},
        )
    assert read_given_back(world.store, "tiny").times == 0
    leases.release_trial(world.store, held, stopped=True)
    assert read_given_back(world.store, "tiny").times == 1


def test_the_status_says_what_was_given_back_and_what_to_do(planned):
    assert read_status(planned, "tiny").notes == ()
    leases.release_trial(planned, claim(planned), stopped=True)
    leases.release_trial(planned, claim(planned), stopped=True)
    shown = " ".join(render_plain_text(read_status(planned, "tiny")).split())
    said = r"1 trial was given back unfinished, 2 times in all, after \d+ s at most"
    assert re.search(said, shown)
    assert "give workers more time than a trial takes (--time-limit, --job-time)" in shown


def test_a_time_limit_shorter_than_a_trial_is_counted(tmp_path):
    store, artifacts = plan(tmp_path, epochs=100_000)
    study = next(s for s in read_study_counts(store, "tiny") if s.name.stage == "pretrain")
    scores = Scores(0.5, (0.5,) * 10, 0.7)
    trained = dataclasses.replace(
        make_outcome(0.5), validation=scores, test=scores, checkpoint=some_weights(artifacts)
    )
    for _ in range(2):
        found = leases.claim_trial(store, study.study_id, "me", 60)
        leases.finish_trial(store, found, trained)
    times, end = 0, time.monotonic() + 600
    # On a busy machine the time may be up before a trial was begun.
    while times < 2 and time.monotonic() < end:
        summary = run_trials(store, artifacts, "tiny", ENGINE, time_limit_s=1.0)
        times += summary.given_back
        found = read_given_back(store, "tiny")
        assert summary.stopped and (0 if found is None else found.times) == times
    assert times >= 2
    store.close()
    said = kdopt(tmp_path, "status", "--store", "kdopt.db").stdout
    assert f"{times} times in all" in said or "2 trials were given back" in said
    assert "given back unfinished" in said and "--time-limit" in said


def test_a_worker_says_what_it_gave_back(capsys):
    print_worker_summary("tiny", WorkerSummary(given_back=1, stopped=True), quiet=True)
    said = "tiny: 0 trials complete, 0 failed, 1 given back unfinished (stopped)\n"
    assert capsys.readouterr().out == said


def some_weights(artifacts):
    return artifacts.put(safetensors.torch.save(make_model("mlp", (1, 8, 8), 10).state_dict()))
