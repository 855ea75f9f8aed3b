import math
from dataclasses import replace

import pytest

from kdopt.analysis.progress import (
    list_failures,
    measure_noise,
    measure_pair_progress,
    tabulate_costs,
)
from kdopt.analysis.tables import Tables
from kdopt.campaign.stages import plan_points
from tests.analysis.synthetic import (
    compare_campaign,
    compare_rows,
    make_campaign,
    make_rows,
    outcome,
    tune_row,
)

CELL = {"temperature": 1.0, "alpha": 0.5}


def test_a_complete_campaign_misses_nothing():
    campaign = make_campaign(replicates=2)
    for stage in Tables(make_rows(campaign), campaign).progress:
        assert stage.planned == stage.complete
        assert stage.missing == stage.failed == 0


def test_trials_that_are_not_planned_in_the_store_yet_count_as_missing():
    campaign = make_campaign()
    pretrain, tune = Tables([], campaign).progress
    assert (pretrain.missing, tune.missing) == (3, 6 * 9)


def test_every_planned_trial_is_in_one_state():
    campaign = make_campaign()
    rows = make_rows(campaign)
    rows[5] = replace(rows[5], state="FAIL", outcome=None, error="NaN loss")
    rows[6] = replace(rows[6], state="RUNNING", outcome=None)
    rows[7] = replace(rows[7], state="WAITING", outcome=None)
    tune = Tables(rows, campaign).progress[1]
    assert (tune.failed, tune.running, tune.waiting) == (1, 1, 1)
    assert tune.planned == tune.complete + tune.failed + tune.running + tune.waiting == 54


def test_a_cell_is_done_when_all_its_replicates_are():
    campaign = make_campaign(replicates=2)
    rows = [tune_row(campaign, (0, 1), CELL | {"replicate": 0}, 0, outcome(1, 1))]
    assert measure_pair_progress(rows, campaign).done == 0
    rows.append(tune_row(campaign, (0, 1), CELL | {"replicate": 1}, 1, outcome(1, 1)))
    assert measure_pair_progress(rows, campaign) == (9, 1, 0, 18, 2)


@pytest.mark.parametrize(("sampler", "cells"), [("sequential", 3 + 2), ("tpe", 20), ("warm", 20)])
def test_other_samplers_plan_their_own_number_of_cells(sampler, cells):
    campaign = make_campaign(tune_sampler=sampler, tune_budget=20, replicates=2)
    assert measure_pair_progress([], campaign)[:4] == (cells, 0, 0, 2 * cells)
    points, n_open = plan_points(campaign)
    known = [{"temperature": t, "alpha": a, "replicate": r} for t, a in points for r in range(2)]
    rows = [
        tune_row(campaign, (0, 1), cell, i, outcome(1, 1) if i < 2 else None)
        for i, cell in enumerate([*known, *[{}] * (2 * n_open)])
    ]
    found = measure_pair_progress(rows, campaign)
    assert (found.done, found.trials_planned, found.trials_done) == (1, 2 * cells, 2)
    assert not found.complete


def test_a_sequential_search_that_repeats_a_cell_is_complete_all_the_same():
    # Vanilla off T = 1 at the alpha that turns out best: its last temperature is run twice.
    campaign = make_campaign(tune_sampler="sequential", tune_vanilla_temperature=2.0)
    cells = [(2.0, 0.5), (1.0, 0.1), (1.0, 0.5), (1.0, 0.9), (0.5, 0.5), (2.0, 0.5)]
    rows = [
        tune_row(campaign, (0, 1), {"temperature": t, "alpha": a}, i, outcome(1, 1))
        for i, (t, a) in enumerate(cells)
    ]
    assert measure_pair_progress(rows, campaign)[:2] == (5, 5)
    assert measure_pair_progress(rows, campaign).complete


def test_cells_of_an_earlier_grid_do_not_stand_in_for_missing_ones():
    campaign = make_campaign()
    rows = [
        tune_row(campaign, (0, 1), {"temperature": 4.0, "alpha": i / 10}, i, outcome(1, 1))
        for i in range(9)
    ]
    found = measure_pair_progress(rows, campaign)
    assert (found.planned, found.done, found.complete) == (18, 9, False)


def test_failures_come_with_their_reasons_in_fixed_order():
    campaign = make_campaign()
    rows = [
        tune_row(campaign, (1, 0), CELL, 3, error="loss is NaN"),
        tune_row(campaign, (0, 1), CELL, 12, error=""),
        tune_row(campaign, (0, 1), CELL, 2, error="killed"),
    ]
    found = list_failures(rows)
    assert [f.number for f in found] == [2, 12, 3]
    assert [f.reason for f in found] == ["killed", "no reason was recorded", "loss is NaN"]
    assert found[0].params == "T=1, alpha=0.5"


def test_costs_are_the_seconds_of_complete_trials_by_stage():
    campaign = compare_campaign(participants=3)
    rows = make_rows(campaign) + compare_rows(campaign)
    found = tabulate_costs(rows).set_index("stage")
    assert found["trials"].sum() == len(rows)
    assert found["hours"].sum() * 3600 == pytest.approx(1.5 * len(rows))
    assert set(found["median_seconds"]) == set(found["p95_seconds"]) == {1.5}
    assert tabulate_costs([]).empty


def test_the_noise_floor_is_the_pooled_deviation_of_replicates():
    campaign = compare_campaign(participants=2, replicates=3)
    rows = compare_rows(campaign, jitter=0.0)
    shifts = {0: -1.0, 1: 0.0, 2: 1.0}
    rows = [
        replace(
            r, outcome=replace(r.outcome, test_gain=5.0 * r.teacher + shifts[r.params["replicate"]])
        )
        for r in rows
    ]
    table = measure_noise(rows)
    assert set(table["stage"]) == {"compare"}
    assert table["sd"].tolist() == pytest.approx([1.0] * 5)
    assert set(table["cells"]) == {2 * 12}


def test_one_replicate_has_no_noise_floor():
    campaign = compare_campaign(participants=2)
    assert measure_noise(make_rows(campaign) + compare_rows(campaign)).empty
    assert measure_noise([]).empty


def test_damaged_gains_do_not_count():
    campaign = compare_campaign(participants=2, replicates=2)
    rows = [
        replace(r, outcome=replace(r.outcome, test_gain=math.nan)) for r in compare_rows(campaign)
    ]
    assert measure_noise(rows).empty
