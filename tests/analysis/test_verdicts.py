"""Verdicts: the simplest action, unless a more complex one is measurably better."""

from __future__ import annotations

import base64
import dataclasses
import math
import random

import numpy as np
import pytest

from kdopt.analysis.tables import Tables
from kdopt.analysis.verdicts import VERDICTS
from kdopt.campaign.names import study_name
from kdopt.campaign.settings import TransferSettings
from kdopt.outcome import LinePoint, Scores, TrialRow
from tests.analysis.synthetic import (
    IMAGES,
    accuracy_of,
    compare_row,
    make_campaign,
    outcome,
    pretrain_rows,
    tune_row,
)

STUDENT = 1
CAMPAIGN = make_campaign(control=True)
MEASURABLE = 100 * 20 / IMAGES
"""A gain (pp) of 20 images that the untouched student had wrong, and none lost."""


def result(validation, test=None):
    return outcome(validation, validation if test is None else test, accuracy_of(STUDENT))


def control_row(gain, test=None, transfer_set="student", replicate=0):
    params = {"student": STUDENT, "transfer_set": transfer_set, "replicate": replicate}
    name = study_name("toy", "uniform", "control")
    return TrialRow(
        name, "uniform", "control", None, None, 0, "COMPLETE", params, result(gain, test)
    )


def tuned_rows(gains):
    """Rows of the pair (0, 1) from {(temperature, alpha): gain}."""
    return [
        tune_row(CAMPAIGN, (0, STUDENT), {"temperature": t, "alpha": a, "replicate": 0}, n, done)
        for n, ((t, a), gain) in enumerate(gains.items())
        for done in [gain if isinstance(gain, type(result(0))) else result(gain)]
    ]


def decide(rows, campaign=CAMPAIGN):
    table = Tables([*pretrain_rows(campaign), *rows], campaign).verdicts
    return table[(table["teacher"] == 0) & (table["student"] == STUDENT)].iloc[0]


def test_one_image_is_no_reason_to_distil():
    line = decide([control_row(0.0), *tuned_rows({(1.0, 0.5): 100 / IMAGES})])
    assert line["action"] == "leave as it is"
    assert (line["test_gain"], line["net_gain"], line["tried"]) == (0.0, 0.0, 2)
    assert line["chance_over_leaving"] >= 0.05


def test_distil_where_it_beats_leaving_and_training_on():
    rows = [control_row(1.0), *tuned_rows({(1.0, 0.5): 0.5, (2.0, 0.9): 1.0 + MEASURABLE})]
    line = decide(rows)
    before = 100 * accuracy_of(STUDENT)
    assert line["accuracy_before"] == pytest.approx(before)
    assert line["accuracy_after"] == pytest.approx(before + 1.0 + MEASURABLE)
    assert line["net_low"] < line["net_gain"] < line["net_high"]
    assert (line["action"], line["method"], line["transfer_set"]) == ("distil", "tuned", "student")
    assert (line["temperature"], line["alpha"]) == (2.0, 0.9)
    assert line["net_gain"] == pytest.approx(MEASURABLE)
    assert line["control_gain"] == 1.0


def test_train_on_where_no_teacher_adds_anything_measurable():
    line = decide([control_row(3.0), *tuned_rows({(1.0, 0.5): 3.0 + 100 / IMAGES})])
    assert (line["action"], line["transfer_set"]) == ("train on", "student")
    assert (line["test_gain"], line["net_gain"]) == (3.0, 0.0)
    assert line["accuracy_after"] == pytest.approx(line["accuracy_before"] + 3.0)
    # No teacher is used: there is no teacher's part to be unsure of.
    assert math.isnan(line["net_low"]) and math.isnan(line["net_high"])
    assert math.isnan(line["temperature"])


def test_training_on_that_does_harm_is_never_advised():
    # What the student loses and what distillation wins are other images, so neither is measurable
    # against the other as it is against the untouched student.
    line = decide([control_row(-2.0), *tuned_rows({(1.0, 0.5): MEASURABLE})])
    assert line["action"] == "distil"


def test_without_a_control_only_leaving_and_distilling_are_compared():
    line = decide(tuned_rows({(1.0, 0.5): MEASURABLE}))
    assert line["action"] == "distil"
    assert math.isnan(line["net_gain"]) and math.isnan(line["chance_over_training"])


def test_every_method_that_ran_is_a_candidate_and_ties_go_to_the_simplest():
    campaign = make_campaign(
        control=True, stages=("tune", "compare"), transfer=TransferSettings(50, 500, 50)
    )
    rows = [
        control_row(0.0),
        *tuned_rows({(1.0, 0.5): 1.0, (2.0, 0.9): 2.0}),
        compare_row(campaign, (0, STUDENT), ("student", "dml", 0), 0, result(4.0)),
    ]
    rows[-1] = dataclasses.replace(
        rows[-1], params={"transfer_set": "student", "method": "dml", "replicate": 0}
    )
    line = decide(rows, campaign)
    assert (line["method"], line["tried"]) == ("dml", 4)
    assert math.isnan(line["temperature"])
    rows[-1] = dataclasses.replace(rows[-1], outcome=result(2.0))
    rows.append(
        dataclasses.replace(
            rows[-1],
            params={"transfer_set": "public_unlabeled_small", "method": "vanilla", "replicate": 0},
            outcome=result(2.0),
        )
    )
    line = decide(rows, campaign)
    assert (line["method"], line["transfer_set"]) == ("vanilla", "public_unlabeled_small")
    # Without labels there is nothing to train on, so the whole gain is the teacher's.
    assert (line["control_gain"], line["net_gain"]) == (0.0, 2.0)


def test_test_images_have_no_part_in_it():
    chance = random.Random(0)
    gains = {(t, a): (MEASURABLE, chance.uniform(-50, 50)) for t in (1.0, 2.0) for a in (0.5, 0.9)}
    seen = {
        decide([control_row(0.0, test), *tuned_rows({k: result(*v) for k, v in gains.items()})])[
            ["action", "method", "temperature", "alpha"]
        ].to_json()
        for test in (-9.0, 0.0, 9.0)
    }
    assert len(seen) == 1


def test_trials_of_older_versions_decide_nothing():
    old = dataclasses.replace(result(5.0), validation=Scores(0.5, (0.5, None), 1.0))
    line = decide(tuned_rows({(1.0, 0.5): old}))
    assert line["action"] == "undecided"
    assert decide([])["action"] == "undecided"


@pytest.mark.parametrize("measured", [(), (0.25, 0.5, 0.75, 1.0, 1.25)])
@pytest.mark.parametrize("places", [(), (0.25, 0.5, 0.75, 1.25)])
def test_in_noise_most_students_are_left_as_they_are(places, measured):
    generator = np.random.default_rng(3)
    before = generator.random(400) < 0.6

    def noisy():
        """A trial whose student is the best of those on its line."""
        drawn = [
            scored(
                result(0.0),
                np.where(generator.random(400) < 0.1, generator.random(400) < 0.6, before),
            )
            for _ in (1.0, *places, *measured)
        ]
        best = max(drawn, key=lambda outcome: outcome.validation.accuracy)
        points = [
            LinePoint(place, outcome.validation.accuracy, outcome.validation.right)
            for place, outcome in zip((*places, *measured), drawn[1:], strict=True)
        ]
        line, other = tuple(points[: len(places)]), tuple(points[len(places) :])
        return dataclasses.replace(best, line=line, measured_line=other)

    actions = []
    for _ in range(40):
        grid = {(t, a): noisy() for t in (0.5, 1.0, 2.0) for a in (0.1, 0.5, 0.9)}
        rows = [dataclasses.replace(control_row(0.0), outcome=noisy()), *tuned_rows(grid)]
        untouched = [
            dataclasses.replace(row, outcome=scored(row.outcome, before))
            if row.params["participant"] == STUDENT
            else row
            for row in pretrain_rows(CAMPAIGN)
        ]
        table = Tables([*untouched, *rows], CAMPAIGN).verdicts
        here = table[(table["teacher"] == 0) & (table["student"] == STUDENT)]
        actions.append(here.iloc[0]["action"])
    assert set(actions) <= set(VERDICTS)
    # 5 % at most by design: 7 of 40 is beyond chance.
    assert sum(action != "leave as it is" for action in actions) < 7


def scored(done, right):
    record = base64.b64encode(np.packbits(right).tobytes()).decode()
    accuracy = float(np.mean(right))
    scores = Scores(accuracy, (accuracy, None), 1.0, len(right), record)
    return dataclasses.replace(
        done, validation=scores, validation_gain=100 * (accuracy - 0.6), value=accuracy
    )
