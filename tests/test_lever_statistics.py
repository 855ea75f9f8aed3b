"""The measurement of both batch-norm statistics: what is written, and what its table chooses."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stages import plan_studies
from kdopt.trials.control import run_control
from kdopt.trials.pretrain import run_pretrain
from kdopt.trials.tune import run_tune
from scripts import lever_statistics
from scripts.lever_tables import CHOICES, LINES, choose_gains, read_found
from scripts.lever_trials import PLACES, read_records
from scripts.statistics_table import SETTINGS, VALUES, list_gains, print_statistics
from tests.small_campaigns import make_spec

CAMPAIGN = parse_spec(
    make_spec(
        name="both",
        model="cnn",
        data={"train_size": 200, "test_size": 60},
        distill={"epochs": 2},
        tune={"alphas": [0.5]},
    )
).campaign
LINE = tuple(place for place in PLACES if place != 1)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    path = tmp_path_factory.mktemp("both") / "both.jsonl"
    for _ in range(2):  # the second time nothing is left to do
        lever_statistics.run_campaigns([CAMPAIGN], path, math.inf)
    return path


def test_what_the_table_chooses_is_what_the_trials_of_each_setting_keep(out, tmp_path):
    records = read_records(out)
    assert sorted((r["teacher"], r["student"]) for r in records) == [(0, 1), (1, 0)]
    pretrain, control, *pairs = plan_studies(CAMPAIGN)
    for (line, value), ways in SETTINGS.items():
        changed = dataclasses.replace(
            CAMPAIGN, batch_norm=value, student_line=LINE if line == "yes" else ()
        )
        context = lever_statistics.open_context(changed, tmp_path / line / value)
        inputs = {
            who: run_pretrain(context, pretrain, {"participant": who}, {}) for who in range(2)
        }
        for plan in pairs:
            (record,) = [r for r in records if r["student"] == plan.student]
            alone = {"student": plan.student, "transfer_set": "student", "replicate": 0}
            outcomes = {
                "control": run_control(context, control, alone, inputs),
                "1 0.5": run_tune(context, plan, plan.cells[0], inputs),
            }
            for student, outcome in outcomes.items():
                best = max(0.0, outcome.validation_gain)
                kept = max(
                    (record[student][way].get(place, (0,))[0])
                    for way, places in ways
                    for place in places
                )
                assert kept == round(outcome.validation.accuracy * outcome.validation.images)
                if student == "control" and best > 0:
                    found = choose_gains(record, ways, ("control",))
                    assert found == pytest.approx((best, outcome.test_gain))


def test_a_record_is_packed_and_printed(out, tmp_path, capsys):
    packed = tmp_path / "both.json"
    lever_statistics.main(["pack", str(out), "--to", str(packed)])
    assert len(json.loads(packed.read_text("utf-8"))) == 2
    print_statistics(LINES, packed)
    said = capsys.readouterr().out
    assert "of 2 pairs of digits" in said
    for value in VALUES:
        assert f"| digits | yes | `{value}` | 2 |" in said


def test_on_validation_both_is_never_worse_than_either():
    found = read_found(LINES)
    for students in CHOICES.values():
        gains = list_gains(found, students)
        for line in ("no", "yes"):
            both = gains[line, "both"][:, 0]
            for value in ("running", "measured"):
                lead = both - gains[line, value][:, 0]
                assert np.all(lead[~np.isnan(lead)] >= 0)
