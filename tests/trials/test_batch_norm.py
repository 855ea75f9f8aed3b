"""Trials that measure their students' batch-norm statistics again on the images of training."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from kdopt.train.batch_norm import measure_statistics
from kdopt.train.fit import copy_state
from kdopt.train.student_line import interpolate_weights
from kdopt.trials.context import Context
from tests.conftest import make_campaign
from tests.trials import test_student_line

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
def running(context):
    """The same campaign with neither a line nor measured statistics, on the same models."""
    campaign = dataclasses.replace(CAMPAIGN, student_line=(), batch_norm="running")
    record = dataclasses.replace(context._record, campaign=campaign)
    return Context(record, context._dataset, context._artifacts, context.engine)


@pytest.mark.parametrize("run", [test_student_line.tune, test_student_line.control])
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
