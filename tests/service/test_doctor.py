"""What the doctor proves of a whole campaign, and that it sees what is put out of order."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from kdopt.campaign.method_spaces import BudgetSpace
from kdopt.campaign.settings import TransferSettings
from kdopt.campaign.stages import plan_studies
from kdopt.cli.app import app
from kdopt.service.doctor import check_campaign
from kdopt.store import leases, queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.planning import requeue_failed_trials, write_plan
from tests.conftest import make_distilled, make_pretrained, make_record

STUDY = "tiny/uniform/tune/t00-s01"


@pytest.fixture
def shelf(tmp_path):
    return Artifacts(tmp_path / "artifacts")


@pytest.fixture
def planned(store, shelf, campaign):
    """A store in which a campaign with an adaptive sampler is planned."""
    adaptive = dataclasses.replace(
        campaign, tune=dataclasses.replace(campaign.tune, sampler="tpe", budget=3)
    )
    record = make_record(adaptive)
    record = dataclasses.replace(record, splits={"uniform": shelf.put(b"splits")})
    write_plan(store, record, plan_studies)
    return store


def run_all(store, shelf):
    """Finish every trial, open ones with a cell of their own."""
    plans = {p.name: p for p in plan_studies(queries.read_record(store, "tiny").campaign)}
    for state in queries.read_study_counts(store, "tiny"):
        while (claim := leases.claim_trial(store, state.study_id, "me", 60)) is not None:
            if "participant" in claim.params:
                outcome = make_pretrained(0.5, shelf.put(b"%d" % claim.number))
            else:
                outcome = make_distilled(claim.number / 2, make_pretrained(0.5))
            if not claim.params:
                cell = {"temperature": 1.0 + claim.number / 4, "alpha": 0.5, "replicate": 0}
                claim = leases.record_params(store, claim, cell, plans[state.study].space)
            leases.finish_trial(store, claim, outcome)


def change(store, sql, **values):
    with store.write() as connection:
        connection.execute(sa.text(sql), values)


def trial_of(store, number=0, study=STUDY):
    sql = (
        "SELECT t.trial_id FROM trials t JOIN studies s ON s.study_id = t.study_id "
        "WHERE s.study_name = :study AND t.number = :number"
    )
    with store.read() as connection:
        return connection.execute(sa.text(sql), {"study": study, "number": number}).scalar_one()


def test_a_new_and_a_finished_campaign_are_sound(planned, shelf):
    new = check_campaign(planned, shelf, "tiny")
    assert (new.planned, new.rows, new.waiting, new.problems) == (8, 8, 8, ())
    run_all(planned, shelf)
    done = check_campaign(planned, shelf, "tiny", deep=True)
    assert done.problems == ()
    assert (done.planned, done.complete, done.duplicates, done.artifacts) == (8, 8, 0, 3)


def test_trials_of_tuned_methods_are_sound_and_have_their_own_parameters(store, shelf, campaign):
    tune = dataclasses.replace(
        campaign.tune, methods=("kd", "dkd", "public_kd"), search=BudgetSpace(epochs=(1, 2))
    )
    sets = TransferSettings(60, 60, 0)
    asked = dataclasses.replace(campaign, tune=tune, transfer=sets, control=True)
    record = dataclasses.replace(make_record(asked), splits={"uniform": shelf.put(b"splits")})
    write_plan(store, record, plan_studies)
    run_all(store, shelf)
    found = check_campaign(store, shelf, "tiny", deep=True)
    assert found.problems == ()
    assert {row.method for row in queries.read_trials(store, "tiny")} == {
        *(None, "kd", "dkd", "public_kd")
    }
    change(
        store,
        "DELETE FROM trial_params WHERE param_name = 'beta' AND trial_id = :id",
        id=trial_of(store, study=f"{STUDY}/dkd"),
    )
    problems = check_campaign(store, shelf, "tiny").problems
    assert any("no parameter beta" in problem for problem in problems)


def test_failed_and_retried_trials_are_sound_too(planned, shelf):
    study = queries.read_study_counts(planned, "tiny")[1].study_id
    leases.fail_trial(planned, leases.claim_trial(planned, study, "me", 60), "out of memory")
    assert check_campaign(planned, shelf, "tiny").problems == ()
    requeue_failed_trials(planned, "tiny")
    found = check_campaign(planned, shelf, "tiny")
    assert (found.problems, found.retried, found.failed, found.rows) == ((), 1, 0, 8)


def only_problem(store, shelf, **options):
    (problem,) = check_campaign(store, shelf, "tiny", **options).problems
    return problem


def test_a_removed_row_is_missed(planned, shelf):
    lost = trial_of(planned)
    for table in ("trial_params", "trials"):
        change(planned, f"DELETE FROM {table} WHERE trial_id = :id", id=lost)
    found = check_campaign(planned, shelf, "tiny")
    assert found.rows == found.planned - 1
    assert any("1 planned trial has no row" in p for p in found.problems)
    assert any("numbers have gaps" in p for p in found.problems)


def test_a_lost_open_trial_is_missed(planned, shelf):
    change(planned, "DELETE FROM trials WHERE trial_id = :id", id=trial_of(planned, 2))
    assert "1 trial beyond the planned cells, the budget is 2" in only_problem(planned, shelf)


def test_a_second_result_of_one_cell_is_seen(planned, shelf):
    run_all(planned, shelf)
    change(
        planned,
        "UPDATE trial_params SET param_value = 1.25 "
        "WHERE trial_id = :id AND param_name = 'temperature'",
        id=trial_of(planned, 2),
    )
    found = check_campaign(planned, shelf, "tiny")
    assert found.duplicates == 1
    assert any("a second result for the same params" in p for p in found.problems)
    assert any(
        "2 rows with the same params (T=1.25, alpha=0.5, replicate=0)" in p for p in found.problems
    )


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("DELETE FROM trial_values WHERE trial_id = :id", "complete with 0 values"),
        (
            "DELETE FROM trial_user_attributes WHERE trial_id = :id AND key = 'kd:metrics'",
            "complete without a record",
        ),
        (
            "UPDATE trial_user_attributes SET value_json = '{\"value\": 1}' "
            "WHERE trial_id = :id AND key = 'kd:metrics'",
            "its record cannot be read: validation: Field required",
        ),
        (
            "UPDATE trials SET state = 'FAIL' WHERE trial_id = :id",
            "FAIL with the record of a result",
        ),
    ],
)
def test_results_that_are_not_whole_are_seen(planned, shelf, sql, expected):
    run_all(planned, shelf)
    change(planned, sql, id=trial_of(planned))
    assert any(expected in p for p in check_campaign(planned, shelf, "tiny").problems)


def test_running_trials_need_a_lease_that_is_looked_after(planned, shelf):
    study = queries.read_study_counts(planned, "tiny")[1].study_id
    claim = leases.claim_trial(planned, study, "me", 60)
    assert check_campaign(planned, shelf, "tiny").problems == ()
    change(planned, f"UPDATE kdopt_lease SET expires = {planned.now} - 100")
    assert re.search(r"its lease lapsed 1\d\d s ago", only_problem(planned, shelf))
    change(planned, "DELETE FROM kdopt_lease WHERE trial_id = :id", id=claim.trial_id)
    assert "running without a lease" in only_problem(planned, shelf)


def test_a_clock_that_was_set_back_is_noted_and_no_problem(planned, shelf):
    run_all(planned, shelf)
    set_times = (
        "UPDATE trials SET datetime_start = '2026-01-01 10:00:00.000000', "
        "datetime_complete = '2026-01-01 0{}:00:00.000000' WHERE number = 1"
    )
    change(planned, set_times.format(9))
    found = check_campaign(planned, shelf, "tiny")
    assert found.problems == ()
    assert any("ended before they began, the most by 3.6e+03 s" in note for note in found.notes)
    change(planned, set_times.format(9).replace("2026-01-01 09", "2025-12-31 09"))
    found = check_campaign(planned, shelf, "tiny")
    assert found.problems and all("ended before it began" in one for one in found.problems)


def test_studies_that_no_spec_asks_for_are_named(planned, shelf):
    change(
        planned,
        "UPDATE studies SET study_name = 'tiny/uniform/compare/t00-s01' WHERE study_name = :name",
        name=STUDY,
    )
    found = check_campaign(planned, shelf, "tiny").problems
    assert any("compare/t00-s01: 3 trials of a study that no spec asks for" in p for p in found)


def test_missing_and_altered_artifacts_are_named_with_what_they_are_for(planned, shelf):
    run_all(planned, shelf)
    pretrained = queries.read_trials(planned, "tiny")[0].outcome.checkpoint
    path = shelf.path(pretrained)
    path.write_bytes(b"something else")
    assert check_campaign(planned, shelf, "tiny").problems == ()
    problem = only_problem(planned, shelf, deep=True)
    assert "damaged or altered" in problem and "pretrain #0" in problem
    path.unlink()
    assert "(tiny/uniform/pretrain #0): missing" in only_problem(planned, shelf)


def test_the_command_exits_with_one_and_a_list_when_something_is_off(planned, shelf, store_url):
    arguments = ["doctor", "--store", store_url, "--artifacts", str(shelf.root)]
    run_all(planned, shelf)
    sound = CliRunner().invoke(app, arguments)
    assert sound.exit_code == 0
    assert "no problems found" in sound.output
    change(planned, "DELETE FROM trial_values WHERE trial_id = :id", id=trial_of(planned))
    off = CliRunner().invoke(app, arguments)
    assert off.exit_code == 1
    assert f"tiny: {STUDY} #0: complete with 0 values" in off.output
    as_json = CliRunner().invoke(app, [*arguments, "--json"])
    assert as_json.exit_code == 1
    (record,) = json.loads(as_json.output)
    assert record["complete"] == 8 and len(record["problems"]) == 1


def test_failed_trials_are_queued_by_the_command(planned, store_url):
    study = queries.read_study_counts(planned, "tiny")[1].study_id
    leases.fail_trial(planned, leases.claim_trial(planned, study, "me", 60), "out of memory")
    for reason, n in (("diverged", 0), ("memory", 1), ("memory", 0)):
        said = CliRunner().invoke(app, ["retry-failed", "--store", store_url, "--reason", reason])
        assert said.exit_code == 0
        assert f"{n} failed trial{'s' * (n != 1)} of" in said.output


def test_init_makes_a_store_once_and_checks_it_ever_after(tmp_path):
    path = tmp_path / "new" / "kdopt.db"
    for _ in range(2):
        said = CliRunner().invoke(app, ["init", "--store", str(path)])
        assert said.exit_code == 0 and "ready (kdopt schema 1" in said.output


def test_what_a_campaign_learns_from_is_missed_by_its_name(store, shelf, campaign):
    warm = dataclasses.replace(
        campaign, tune=dataclasses.replace(campaign.tune, sampler="warm", budget=3)
    )
    prior = shelf.put(b"prior")
    record = dataclasses.replace(
        make_record(warm), splits={"uniform": shelf.put(b"splits")}, prior=prior
    )
    write_plan(store, record, plan_studies)
    run_all(store, shelf)
    found = check_campaign(store, shelf, "tiny", deep=True)
    assert (found.problems, found.artifacts) == ((), 2 + 2)
    shelf.path(prior).write_bytes(b"other")
    problem = only_problem(store, shelf, deep=True)
    assert "tune.prior" in problem and "damaged or altered" in problem
    shelf.discard(prior)
    assert "(tune.prior): missing" in only_problem(store, shelf)
