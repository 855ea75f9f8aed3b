"""Trials that record what is monitored on validation after every epoch."""

from __future__ import annotations

import dataclasses

import pytest
from typer.testing import CliRunner

import kdopt
from kdopt.cli.app import app
from kdopt.service.doctor import check_campaign
from kdopt.train.engine import make_engine
from kdopt.trials.context import Context
from kdopt.worker.worker import run_trials
from tests.conftest import make_campaign
from tests.trials import test_student_line
from tests.worker.test_worker import plan, results

CAMPAIGN = make_campaign(
    participants=2, stages=("tune",), control=True, student_line=test_student_line.PLACES
)
RUNS = pytest.mark.parametrize("run", [test_student_line.tune, test_student_line.control])


@pytest.fixture
def change(context):
    """The campaign with other settings, on the same models."""

    def make(curves="all", **distill):
        settings = dataclasses.replace(CAMPAIGN.distill, **distill)
        campaign = dataclasses.replace(CAMPAIGN, distill=settings, learning_curves=curves)
        record = dataclasses.replace(context._record, campaign=campaign)
        return Context(record, context._dataset, context._artifacts, context.engine)

    return make


@RUNS
@pytest.mark.parametrize("patience", [0, 2])
def test_a_curve_has_the_accuracy_of_every_epoch_and_changes_nothing(
    run, patience, change, trained
):
    with_curve = change(epochs=4, patience=patience)
    settings = dataclasses.replace(with_curve.campaign, learning_curves="none")
    record = dataclasses.replace(with_curve._record, campaign=settings)
    without = Context(record, with_curve._dataset, with_curve._artifacts, with_curve.engine)
    outcome, plain = run(with_curve, trained), run(without, trained)
    assert plain.curve == ()
    same = {"seconds": 0.0, "curve": ()}
    assert dataclasses.replace(outcome, **same) == dataclasses.replace(plain, **same)
    assert len(outcome.curve) == outcome.epochs
    assert outcome.curve[-1] == outcome.last_validation_accuracy
    if patience:
        assert outcome.curve.index(max(outcome.curve)) + 1 == outcome.best_epoch
    # As the training that ends there would have it.
    shorter = run(change(epochs=2, patience=0), trained)
    assert outcome.curve[:2] == shorter.curve


@RUNS
@pytest.mark.parametrize("patience", [0, 2])
def test_by_default_a_curve_is_recorded_where_validation_is_measured_anyway(
    run, patience, change, trained
):
    assert CAMPAIGN.learning_curves == "free"
    outcome = run(change("free", epochs=3, patience=patience), trained)
    assert len(outcome.curve) == (outcome.epochs if patience else 0)


@RUNS
def test_where_the_loss_is_monitored_the_curve_is_minus_the_loss(run, change, trained):
    outcome = run(change(epochs=2, patience=0, monitor="loss"), trained)
    validation = outcome.validation if outcome.line_position == 1 else None
    assert len(outcome.curve) == 2 and max(outcome.curve) < 0
    assert validation is None or outcome.curve[-1] == pytest.approx(-validation.loss)


SPEC = """
name = "tiny"
participants = 2
model = "mlp"
partitions = ["uniform"]
precision = "fp32"
learning_curves = "all"
stages = ["tune"]
[data]
name = "digits"
validation_fraction = 0.2
[pretrain]
epochs = 1
patience = 0
[distill]
epochs = 2
patience = 0
[tune]
temperatures = [2]
alphas = [0.5, 0.9]
"""


def test_results_of_versions_that_recorded_no_curve_are_still_right(tmp_path):
    text = SPEC.replace('"all"', '"free"').replace("patience = 0\n[tune]", "patience = 2\n[tune]")
    store, artifacts = plan(tmp_path, text=text)
    assert run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu")).failed == 0
    with kdopt.open(tmp_path / "kdopt.db") as opened:
        assert len(opened["tiny"].curves()) == 16
    with store.write() as connection:
        connection.exec_driver_sql(
            "UPDATE trial_user_attributes SET value_json = json_remove(value_json, '$.curve') "
            "WHERE key = 'kd:metrics'"
        )
    assert check_campaign(store, artifacts, "tiny").problems == ()
    again = CliRunner().invoke(app, ["verify", "tiny", "--store", str(tmp_path / "kdopt.db")])
    assert again.exit_code == 0, again.output
    store.close()


def test_curves_are_read_from_a_store_and_the_doctor_knows_those_that_cannot_be(tmp_path):
    store, artifacts = plan(tmp_path, text=SPEC)
    assert run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu")).failed == 0
    with kdopt.open(tmp_path / "kdopt.db") as opened:
        curves = opened["tiny"].curves()
    last = curves[curves["epoch"] == 2].set_index(["study", "number"])["monitored"]
    # Distilled students and those trained on without a teacher; none of pre-training.
    assert len(last) == 8 and len(curves) == 16
    records = {trial: record for trial, (_, _, record) in results(store).items()}
    for trial, value in last.items():
        assert value == records[trial]["last_validation_accuracy"]

    def check(curve: str):
        with store.write() as connection:
            connection.exec_driver_sql(
                "UPDATE trial_user_attributes SET value_json = json_set(value_json, '$.curve', "
                "json(?)) WHERE key = 'kd:metrics' AND trial_id = (SELECT trial_id FROM trials "
                "JOIN studies USING (study_id) WHERE study_name = 'tiny/uniform/tune/t00-s01' "
                "AND number = 0)",
                (curve,),
            )
        return " ".join(check_campaign(store, artifacts, "tiny").problems)

    assert check_campaign(store, artifacts, "tiny").problems == ()
    assert "a learning curve of 1 epoch, and it trained 2" in check("[0.5]")
    assert "its learning curve ends at 0.0123" in check("[0.5, 0.0123]")
    assert check("[]") == ""  # as a trial that was run before curves were recorded
    store.close()
