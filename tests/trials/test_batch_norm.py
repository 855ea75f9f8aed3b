"""Trials whose students have batch-norm statistics measured on the images of training, or both."""

from __future__ import annotations

import dataclasses
import json

import optuna
import pytest
import torch

from kdopt.analysis.students import TrialChoice
from kdopt.campaign.compatibility import list_differences
from kdopt.outcome import STATISTICS, TRAINED, Outcome, Pair
from kdopt.report.export import name_trials
from kdopt.report.student_card import BATCH_NORM, format_student_card
from kdopt.service.distill import distill_student
from kdopt.service.doctor import check_campaign
from kdopt.service.rerun import verify_trials
from kdopt.store.queries import read_record, read_trials
from kdopt.train.batch_norm import measure_statistics
from kdopt.train.fit import copy_state
from kdopt.train.student_line import interpolate_weights
from kdopt.trials.context import Context
from tests.conftest import make_campaign
from tests.small_campaigns import make_spec, run_campaign
from tests.trials import test_student_line

STUDY = "tiny/uniform/tune/t00-s01"
PLACES = (0.5, 1.25)
CAMPAIGN = make_campaign(
    participants=2,
    stages=("tune",),
    control=True,
    model="cnn",
    student_line=PLACES,
    batch_norm="measured",
)
PARTITION = CAMPAIGN.partitions[0].name


@pytest.fixture(scope="module")
def change(context):
    """The same campaign with other settings, on the same models."""

    def make(**settings):
        campaign = dataclasses.replace(CAMPAIGN, **settings)
        record = dataclasses.replace(context._record, campaign=campaign)
        return Context(record, context._dataset, context._artifacts, context.engine)

    return make


@pytest.fixture(scope="module")
def running(change):
    """Neither a line nor measured statistics."""
    return change(student_line=(), batch_norm="running")


RUNS = pytest.mark.parametrize("run", [test_student_line.tune, test_student_line.control])


@RUNS
def test_they_are_measured_at_every_place_and_kept(run, context, running, trained):
    plain = run(running, trained)
    end = copy_state(running.trained.find(plain))
    outcome = run(context, trained)
    kept = copy_state(context.trained.find(outcome))
    untouched = copy_state(running.load_model(trained[1]))
    model, validation = running.load_state(end, 1), running.get_validation(PARTITION, 1)
    by_hand, states = {}, {}
    for place in (1.0, *PLACES):
        between = interpolate_weights(untouched, end, place)
        model.load_state_dict(end if place == 1 else between)
        assert measure_statistics(model, running.get_share(PARTITION, 1), running.engine)
        by_hand[place], states[place] = running.score_model(model, validation), copy_state(model)
    assert by_hand[1.0][0] != plain.validation
    assert outcome.last_validation_accuracy == by_hand[1.0][0].accuracy
    for point in outcome.line:
        assert point.right == by_hand[point.position][0].right
    assert by_hand[outcome.line_position] == (outcome.validation, outcome.test)
    state = states[outcome.line_position]
    assert all(torch.equal(value, state[key]) for key, value in kept.items())


@RUNS
@pytest.mark.parametrize("places", [(), PLACES])
@pytest.mark.parametrize("select_on", ["validation", "test"])
def test_both_keeps_the_better_of_what_either_gives(run, places, select_on, change, trained):
    settings = {"student_line": places, "select_on": select_on}
    alone = {way: run(change(batch_norm=way, **settings), trained) for way in STATISTICS}
    context = change(batch_norm="both", **settings)
    outcome = run(context, trained)
    running, measured = (alone[way] for way in STATISTICS)
    by = {"validation": lambda o: o.validation.accuracy, "test": lambda o: o.test.accuracy}
    better = max((running, measured), key=by[select_on])
    assert by[select_on](outcome) == by[select_on](better)
    kept = alone[outcome.batch_norm]
    assert (outcome.validation, outcome.test) == (kept.validation, kept.test)
    assert (outcome.value, outcome.line_position) == (kept.value, kept.line_position)
    # All that either tries is on record, and what training itself gave.
    assert outcome.line == running.line
    end = next(point for point in outcome.measured_line if point.position == TRAINED)
    assert end.validation_accuracy == measured.last_validation_accuracy
    others = tuple(point for point in outcome.measured_line if point is not end)
    assert others == measured.line
    assert outcome.last_validation_accuracy == running.last_validation_accuracy
    assert outcome.last_test_accuracy == running.last_test_accuracy
    # The student that is handed on is the one that was scored.
    model = context.trained.find(outcome)
    scores = context.score_model(model, context.get_validation(PARTITION, 1))
    assert scores == (outcome.validation, outcome.test)
    assert Outcome.from_text(json.dumps(outcome.to_json())) == outcome
    assert running.to_json().keys() == outcome.to_json().keys() - {"batch_norm", "measured_line"}


@RUNS
def test_of_the_best_epoch_either_is_tried(run, change, trained):
    patient = dataclasses.replace(CAMPAIGN.distill, epochs=4, patience=2)
    settings = {"distill": patient, "student_line": ()}
    alone = [run(change(batch_norm=way, **settings), trained) for way in STATISTICS]
    outcome = run(change(batch_norm="both", **settings), trained)
    assert outcome.validation.accuracy == max(one.validation.accuracy for one in alone)
    assert outcome.best_epoch == alone[0].best_epoch


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    spec = make_spec(
        model="cnn",
        student_line=PLACES,
        batch_norm="both",
        learning_curves="all",
        keep="best",
        data={"train_size": 200, "test_size": 60},
        distill={"epochs": 2},
        tune={"alphas": [0.5, 0.9]},
    )
    made = run_campaign(spec, tmp_path_factory.mktemp("both"))
    yield made
    made.store.close()


def test_which_was_kept_is_shown_and_comes_out_again(stored):
    store, artifacts, path = stored
    assert check_campaign(store, artifacts, "tiny", deep=True).problems == ()
    rows = [row for row in read_trials(store, "tiny") if row.stage != "pretrain"]
    assert {row.outcome.batch_norm for row in rows} <= {*STATISTICS}
    assert all(trial.equal for trial in verify_trials(store, artifacts, "tiny", len(rows)))
    study = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{path}")
    shown = [trial.user_attrs["batch_norm"] for trial in study.trials]
    assert shown == [row.outcome.batch_norm for row in rows if row.study == STUDY]
    assert name_trials(rows)["batch_norm"] == [
        row.outcome.batch_norm for row in sorted(rows, key=lambda row: (row.study, row.number))
    ]
    # Another value would mean other students: it is refused.
    record = read_record(store, "tiny")
    other = dataclasses.replace(
        record, campaign=dataclasses.replace(record.campaign, batch_norm="measured")
    )
    assert list_differences(record, other) == ["batch_norm"]


def test_the_student_that_is_taken_home_has_the_statistics_that_were_kept(stored):
    store, artifacts, _ = stored
    kept = {
        row.number: row.outcome.batch_norm
        for row in read_trials(store, "tiny")
        if row.study == STUDY
    }
    for number, statistics in kept.items():
        _, facts, record = distill_student(
            store, artifacts, "tiny", Pair("uniform", 0, 1), TrialChoice(f"tune/{number}")
        )
        assert record.deviations == () and record.recorded.batch_norm == statistics
        card = format_student_card(record, facts, read_record(store, "tiny").campaign, {"s": "e"})
        assert f"| batch-norm statistics | {BATCH_NORM[statistics]} |" in card


IMPOSSIBLE = {
    (
        "$.measured_line[0][0]",
        "0.3",
    ): "measured statistics at 0.3 of the student line: the campaign",
    ("$.measured_line[0][1]", "1.0"): "better on validation than the student that was kept",
    ("$.batch_norm", "null"): "measured statistics, and not which the kept student has",
    ("$.line_position", "0.75"): "it keeps the student at 0.75 of its line, which was not tried",
}


@pytest.mark.parametrize("change", IMPOSSIBLE)
def test_the_doctor_knows_records_that_cannot_be(stored, change):
    store, artifacts, _ = stored
    where = (
        "WHERE key = 'kd:metrics' AND trial_id = (SELECT trial_id FROM trials JOIN studies USING "
        f"(study_id) WHERE study_name = '{STUDY}' AND number = 0)"
    )
    ((before,),) = store.select_rows(f"SELECT value_json FROM trial_user_attributes {where}")

    def write(text, *values):
        with store.write() as connection:
            connection.exec_driver_sql(
                f"UPDATE trial_user_attributes SET value_json = {text} {where}", values
            )

    try:
        write("json_set(value_json, ?, json(?))", *change)
        problems = check_campaign(store, artifacts, "tiny").problems
    finally:
        write("?", before)
    assert any(IMPOSSIBLE[change] in problem for problem in problems), problems


def test_of_a_model_without_batch_norm_nothing_more_is_tried(tmp_path):
    outcomes = {}
    for way in ("running", "both"):
        spec = make_spec(batch_norm=way, student_line=[0.5], data={"train_size": 200})
        (tmp_path / way).mkdir()
        made = run_campaign(spec, tmp_path / way)
        assert check_campaign(made.store, made.artifacts, "tiny").problems == ()
        rows = read_trials(made.store, "tiny")
        made.store.close()
        outcomes[way] = [dataclasses.replace(row.outcome, seconds=0.0) for row in rows]
    assert outcomes["both"] == outcomes["running"]
