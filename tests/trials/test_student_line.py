"""Trials that try the students on the line between the untouched one and the trained one."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from kdopt.campaign.stages import plan_control, plan_tune
from kdopt.outcome import Outcome
from kdopt.train import student_line
from kdopt.train.fit import copy_state
from kdopt.train.student_line import interpolate_weights
from kdopt.trials.context import Context
from kdopt.trials.control import run_control
from kdopt.trials.tune import run_tune
from tests.conftest import make_campaign

PLACES = (0.25, 0.5, 0.75, 1.25)
CAMPAIGN = make_campaign(participants=2, stages=("tune",), control=True, student_line=PLACES)
PARTITION = CAMPAIGN.partitions[0].name


@pytest.fixture(scope="module")
def without(context):
    """The same campaign without a line, on the same models."""
    record = dataclasses.replace(
        context._record, campaign=dataclasses.replace(CAMPAIGN, student_line=())
    )
    return Context(record, context._dataset, context._artifacts, context.engine)


def tune(context, trained, alpha=0.9):
    plan = next(p for p in plan_tune(CAMPAIGN) if p.student == 1)
    return run_tune(context, plan, {"temperature": 2.0, "alpha": alpha, "replicate": 0}, trained)


def control(context, trained):
    params = {"student": 1, "transfer_set": "student", "replicate": 0}
    return run_control(context, plan_control(CAMPAIGN)[0], params, trained)


@pytest.mark.parametrize("run", [tune, control])
def test_every_place_is_scored_and_the_best_on_validation_is_kept(run, context, without, trained):
    plain, outcome = run(without, trained), run(context, trained)
    assert (plain.line, plain.line_position) == ((), None)
    assert [point.position for point in outcome.line] == list(PLACES)
    # Scored by hand, from the two ends.
    untouched = copy_state(without.load_model(trained[1]))
    model = without.load_state(without.trained.find(run(without, trained)).state_dict(), 1)
    end = copy_state(model)
    validation = without.get_validation(PARTITION, 1)
    by_hand = {1.0: (plain.validation, plain.test)}
    for place in PLACES:
        model.load_state_dict(interpolate_weights(untouched, end, place))
        by_hand[place] = without.score_model(model, validation)
    for point in outcome.line:
        assert point.validation_accuracy == by_hand[point.position][0].accuracy
        assert point.right == by_hand[point.position][0].right
    best = max(scores.accuracy for scores, _ in by_hand.values())
    assert outcome.validation.accuracy == best
    assert by_hand[outcome.line_position] == (outcome.validation, outcome.test)
    # What training itself gave is on record as without the line.
    assert outcome.last_test_accuracy == plain.last_test_accuracy


def test_the_kept_model_is_the_one_that_was_scored(context, trained):
    outcome = tune(context, trained)
    model = context.trained.find(outcome)
    scores = context.score_model(model, context.get_validation(PARTITION, 1))
    assert scores == (outcome.validation, outcome.test)


def test_alpha_zero_is_still_the_control(context, trained):
    distilled, alone = tune(context, trained, alpha=0.0), control(context, trained)
    assert (distilled.validation, distilled.line) == (alone.validation, alone.line)


def test_the_record_of_a_line_is_read_again(context, trained):
    outcome = tune(context, trained)
    assert Outcome.from_text(json.dumps(outcome.to_json())) == outcome


def test_a_place_at_which_the_model_gives_no_numbers_is_passed_over(context, trained, monkeypatch):
    def break_far_ones(untouched, trained, position):
        state = interpolate_weights(untouched, trained, position)
        if position > 1:
            state = {k: v * torch.inf if v.is_floating_point() else v for k, v in state.items()}
        return state

    monkeypatch.setattr(student_line, "interpolate_weights", break_far_ones)
    outcome = tune(context, trained)
    assert [point.position for point in outcome.line] == [0.25, 0.5, 0.75]
    assert outcome.line_position <= 1
