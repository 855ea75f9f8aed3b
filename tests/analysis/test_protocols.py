import math
from dataclasses import replace

import pytest

from kdopt.analysis.progress import measure_noise
from kdopt.analysis.results import PointMean
from kdopt.analysis.tables import compute_tables
from kdopt.analysis.tuning import (
    FULL_GRID,
    GRID_MINUS_SEQUENTIAL,
    OVERALL,
    SEQUENTIAL,
    replay_sequential_search,
)
from kdopt.campaign.stages import plan_points
from kdopt.outcome import TrialRow
from kdopt.search.samplers import next_cell
from tests.analysis.synthetic import compare_campaign, compare_rows, make_campaign, make_rows

TUNE = make_campaign().tune


def grid(gain):
    return [
        PointMean(t, a, gain(t, a), -gain(t, a), 1) for t in TUNE.temperatures for a in TUNE.alphas
    ]


def test_the_sequential_search_climbs_alpha_then_temperature():
    found = replay_sequential_search(grid(lambda t, a: t + a), "validation_gain", TUNE)
    assert found.points == 3 + 2
    assert (found.chosen.temperature, found.chosen.alpha) == (2.0, 0.9)
    trap = replay_sequential_search(
        grid(lambda t, a: 9 if (t, a) == (2.0, 0.1) else a), "validation_gain", TUNE
    )
    assert trap.chosen.alpha == 0.9


def test_ties_in_alpha_go_to_the_one_nearest_vanilla():
    found = replay_sequential_search(grid(lambda t, a: t), "validation_gain", TUNE)
    assert (found.chosen.temperature, found.chosen.alpha) == (2.0, 0.5)


def test_a_missing_cell_is_not_guessed():
    cells = grid(lambda t, a: t + a)
    assert replay_sequential_search(cells[:-1], "validation_gain", TUNE) is None
    assert replay_sequential_search([], "validation_gain", TUNE) is None


def test_it_chooses_what_the_sampler_itself_would_have_tried():
    gridded = make_campaign()
    campaign = make_campaign(tune_sampler="sequential")
    points, n_open = plan_points(campaign)
    for row in make_rows(gridded):
        if row.stage != "tune" or row.number:
            continue
        mine = {
            (r.params["temperature"], r.params["alpha"]): r
            for r in make_rows(gridded)
            if r.study == row.study
        }
        history: list[TrialRow] = [replace(mine[p], number=i) for i, p in enumerate(points)]
        for number in range(len(points), len(points) + n_open):
            cell = next_cell(campaign, None, number, history)
            history.append(replace(mine[cell["temperature"], cell["alpha"]], number=number))
        best = max(history, key=lambda r: r.outcome.value)
        cells = [
            PointMean(*p, r.outcome.validation_gain, r.outcome.test_gain, 1)
            for p, r in mine.items()
        ]
        found = replay_sequential_search(cells, "validation_gain", campaign.tune)
        assert found.points == len(history)
        assert found.chosen.validation_gain == best.outcome.value


def test_side_by_side_over_the_same_pairs():
    campaign = make_campaign(replicates=2)
    table = compute_tables(make_rows(campaign), campaign).protocols
    scope = table[table["partition"] == OVERALL].set_index("protocol")
    assert list(scope.index) == [FULL_GRID, SEQUENTIAL, GRID_MINUS_SEQUENTIAL]
    assert scope.loc[FULL_GRID, "trials"] == 9 * 2 and scope.loc[SEQUENTIAL, "trials"] == 5 * 2
    difference = scope.loc[FULL_GRID, "test_gain"] - scope.loc[SEQUENTIAL, "test_gain"]
    assert scope.loc[GRID_MINUS_SEQUENTIAL, "test_gain"] == pytest.approx(difference)
    assert set(scope["n"]) == {6}
    assert compute_tables(make_rows(campaign)[:-1], campaign).protocols["n"].iloc[0] == 5


def test_of_a_sequential_campaign_only_what_was_used_is_said():
    campaign = make_campaign(tune_sampler="sequential")
    wanted = {(1.0, 0.1), (1.0, 0.5), (1.0, 0.9), (0.5, 0.5), (2.0, 0.5)}
    rows = [
        r
        for r in make_rows(campaign)
        if r.stage != "tune" or (r.params["temperature"], r.params["alpha"]) in wanted
    ]
    table = compute_tables(rows, campaign).protocols
    assert set(table["protocol"]) == {"sequential"}
    assert set(table["trials"]) == {5}
    assert compute_tables([], campaign).protocols.empty


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
