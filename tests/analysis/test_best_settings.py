import dataclasses
import math
import random

import pytest
import torch

from kdopt.analysis.best_settings import (
    compute_kd_weight,
    find_best_point,
    find_vanilla_point,
    rank_points,
)
from kdopt.analysis.results import PointMean
from kdopt.analysis.tables import Tables
from kdopt.outcome import Pair
from tests.analysis.synthetic import (
    accuracy_of,
    compare_row,
    make_campaign,
    make_rows,
    outcome,
    pretrain_rows,
    test_surface,
    tune_row,
    validation_surface,
)

TUNE = make_campaign().tune


PAIR = Pair("uniform", 0, 1)


DONE = outcome(3.0, 2.0)


def cell(temperature, alpha, validation=1.0, test=1.0):
    return PointMean(temperature, alpha, validation, test, 1)


def test_each_gain_is_maximised_on_its_own():
    cells = [cell(1, 0.5, 1, 9), cell(2, 0.5, 3, 0), cell(4, 0.5, 2, 5)]
    assert find_best_point(cells, "validation_gain", TUNE).temperature == 2
    assert find_best_point(cells, "test_gain", TUNE).temperature == 1
    assert find_best_point([], "test_gain", TUNE) is None


@pytest.mark.parametrize(
    ("nearer", "farther"),
    [
        ((1.0, 0.9), (2.0, 0.5)),  # temperature counts before alpha
        ((2.0, 0.25), (2.0, 0.9)),  # then the distance in alpha
        ((0.5, 0.5), (2.0, 0.5)),  # same distance in log T: smaller T
        ((1.0, 0.25), (1.0, 0.75)),  # same distance in alpha: smaller alpha
    ],
)
def test_ties_go_to_the_cell_nearest_vanilla(nearer, farther):
    for order in ((nearer, farther), (farther, nearer)):
        chosen = find_best_point([cell(*o) for o in order], "validation_gain", TUNE)
        assert (chosen.temperature, chosen.alpha) == nearer


def test_float_noise_does_not_break_a_tie():
    noisy = replace_gain(cell(2.0, 0.9), 0.1 + 0.2)
    plain = replace_gain(cell(1.0, 0.5), 0.3)
    assert noisy.validation_gain > plain.validation_gain
    assert find_best_point([noisy, plain], "validation_gain", TUNE) is plain


def test_vanilla_is_found_only_where_it_was_run():
    assert find_vanilla_point([cell(2, 0.5), cell(1, 0.5)], TUNE) == cell(1, 0.5)
    assert find_vanilla_point([cell(2, 0.5)], TUNE) is None


def replace_gain(value, gain):
    return value._replace(validation_gain=gain)


def test_a_lucky_cell_measured_once_does_not_beat_one_measured_often():
    lucky = PointMean(4.0, 0.9, 40.0, 40.0, 1)
    often = PointMean(1.0, 0.5, 2.0, 2.0, 3)
    assert find_best_point([lucky, often], "validation_gain", TUNE) == often
    assert find_best_point([lucky], "validation_gain", TUNE) == lucky


def test_the_best_of_any_cells_is_the_first_of_them_by_rank():
    chance = random.Random(0)
    cells = [
        PointMean(t, a, chance.choice((0, 1, 2)), chance.choice((0, 1)), chance.choice((1, 2)))
        for t in (0.5, 1.0, 2.0)
        for a in (0.1, 0.5, 0.9)
    ]
    for gain in ("validation_gain", "test_gain"):
        ranked = rank_points(cells, gain, TUNE)
        assert sorted(ranked) == sorted(cells)
        for size in range(1, 10):
            some = chance.sample(cells, size)
            assert find_best_point(some, gain, TUNE) == next(c for c in ranked if c in some)


def pair_of(best, teacher, student):
    return best[(best["teacher"] == teacher) & (best["student"] == student)].iloc[0]


def one_pair(campaign, gains):
    """Rows of pair (0, 1) from {(temperature, alpha): (validation, test)}."""
    return pretrain_rows(campaign) + [
        tune_row(
            campaign,
            (0, 1),
            {"temperature": t, "alpha": a, "replicate": 0},
            n,
            outcome(*values, accuracy_of(1)),
        )
        for n, ((t, a), values) in enumerate(gains.items())
    ]


def test_selection_is_the_argmax_on_validation():
    campaign = make_campaign()
    best = Tables(make_rows(campaign), campaign).best_settings
    for line in best.to_dict("records"):
        gap = 100 * (accuracy_of(line["teacher"]) - accuracy_of(line["student"]))
        grid = [(t, a) for t in campaign.tune.temperatures for a in campaign.tune.alphas]
        t, a = max(grid, key=lambda cell: validation_surface(gap, *cell))
        assert (line["temperature"], line["alpha"]) == (t, a)
        assert line["test_gain"] == pytest.approx(test_surface(gap, t, a))
        assert line["oracle_gain"] == pytest.approx(max(test_surface(gap, *c) for c in grid))
        assert line["vanilla_gain"] == pytest.approx(test_surface(gap, 1.0, 0.5))
        assert line["accuracy_gap"] == pytest.approx(gap)


def test_selection_never_looks_at_test():
    campaign = make_campaign()
    columns = ["temperature", "alpha", "validation_gain", "advice"]
    chosen = Tables(make_rows(campaign), campaign).best_settings[columns]
    rng = random.Random(3)
    other = make_rows(campaign, test=lambda gap, t, a: rng.uniform(-50, 50))
    assert Tables(other, campaign).best_settings[columns].equals(chosen)


def test_selection_on_test_is_the_oracle():
    campaign = make_campaign(select_on="test")
    best = Tables(make_rows(campaign), campaign).best_settings
    assert best["temperature"].equals(best["oracle_temperature"])
    assert best["test_gain"].equals(best["oracle_gain"])


def test_a_pair_in_which_nothing_gains_on_validation_is_left_alone():
    campaign = make_campaign()
    gains = {(1.0, 0.5): (-1.0, 2.0), (2.0, 0.5): (0.0, 3.0), (0.5, 0.5): (-2.0, 4.0)}
    line = pair_of(Tables(one_pair(campaign, gains), campaign).best_settings, 0, 1)
    assert (line["advice"], line["advised_gain"]) == ("leave as it is", 0.0)
    assert (line["temperature"], line["test_gain"], line["oracle_gain"]) == (2.0, 3.0, 4.0)


def test_a_measurable_gain_on_validation_counts_even_if_test_disagrees():
    campaign = make_campaign()
    line = pair_of(
        Tables(one_pair(campaign, {(1.0, 0.5): (0.5, -3.0)}), campaign).best_settings, 0, 1
    )
    assert (line["advice"], line["advised_gain"]) == ("distil", -3.0)


def test_incomplete_pairs_are_kept_and_marked():
    campaign = make_campaign()
    best = Tables(one_pair(campaign, {(2.0, 0.5): (1.0, 1.0)}), campaign).best_settings
    assert len(best) == 6
    assert not best["complete"].any()
    started, untouched = pair_of(best, 0, 1), pair_of(best, 1, 0)
    assert (started["cells_done"], started["cells_planned"]) == (1, 9)
    assert math.isnan(started["vanilla_gain"])
    assert (untouched["advice"], untouched["cells_done"]) == ("undecided", 0)
    assert math.isnan(untouched["advised_gain"])
    assert Tables(make_rows(campaign), campaign).best_settings["complete"].all()


def test_no_rows_still_give_every_pair():
    assert len(Tables([], make_campaign()).best_settings) == 6


def test_the_table_does_not_depend_on_the_order_of_rows():
    campaign = make_campaign(replicates=3)
    rng = random.Random(5)
    rows = make_rows(campaign, validation=lambda *_: rng.gauss(0, 1))
    expected = Tables(rows, campaign).best_settings
    for seed in range(5):
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert Tables(shuffled, campaign).best_settings.equals(expected)


def test_a_surface_holds_every_gain_in_its_place():
    campaign = make_campaign()
    found = Tables(make_rows(campaign), campaign).surfaces[Pair("uniform", 2, 0)]
    gap = 100 * (accuracy_of(2) - accuracy_of(0))
    assert (found.temperatures, found.alphas) == ([0.5, 1.0, 2.0], [0.1, 0.5, 0.9])
    for i, t in enumerate(found.temperatures):
        for j, a in enumerate(found.alphas):
            assert found.validation_gain[i][j] == pytest.approx(validation_surface(gap, t, a))
            assert found.test_gain[i][j] == pytest.approx(test_surface(gap, t, a))


def test_a_surface_has_gaps_where_nothing_was_measured():
    campaign = make_campaign()
    rows = one_pair(campaign, {(2.0, 0.5): (1.0, 3.0)})
    found = Tables(rows, campaign).surfaces[Pair("uniform", 0, 1)]
    assert found.test_gain == [[None] * 3, [None] * 3, [None, 3.0, None]]


def test_adaptive_samplers_give_points_and_no_grid():
    campaign = make_campaign(tune_sampler="tpe")
    rows = one_pair(campaign, {(1.234, 0.321): (1.0, 2.0)})
    found = Tables(rows, campaign).surfaces[Pair("uniform", 0, 1)]
    assert [p[:5] for p in found.points] == [(1.234, 0.321, 1.0, 2.0, 1)]
    assert found.temperatures == found.test_gain == []


def test_vanilla_of_the_comparison_stands_in_where_tuning_has_none():
    campaign = make_campaign(stages=("tune", "compare"))
    rows = one_pair(campaign, {(2.0, 0.5): (3.0, 2.0)})
    compared = compare_row(campaign, (0, 1), ("vanilla", "student", 0), 0, outcome(1.0, 0.25))
    before = pair_of(Tables(rows, campaign).best_settings, 0, 1)
    after = pair_of(Tables([*rows, compared], campaign).best_settings, 0, 1)
    assert math.isnan(before["vanilla_gain"])
    assert after["vanilla_gain"] == 0.25
    assert (after["temperature"], after["test_gain"]) == (2.0, 2.0)
    # It is a cell that may be chosen, as where tuning runs it, and no trial of the search.
    better = compare_row(campaign, (0, 1), ("vanilla", "student", 0), 0, outcome(9.0, 8.0))
    chosen = pair_of(Tables([*rows, better], campaign).best_settings, 0, 1)
    assert (chosen["temperature"], chosen["alpha"], chosen["test_gain"]) == (1.0, 0.5, 8.0)
    assert chosen["oracle_gain"] == 8.0
    assert chosen["trials_done"] == after["trials_done"] == before["trials_done"] == 1
    # The pair's surface and its other tables follow.
    tables = Tables([*rows, better], campaign)
    points = tables.surfaces[Pair("uniform", 0, 1)].points
    assert [(c.temperature, c.test_gain) for c in points] == [(1.0, 8.0), (2.0, 2.0)]
    gains = tables.method_gains
    tuned = gains[(gains["method"] == "tuned") & (gains["transfer_set"] == "student")]
    assert list(tuned["test_gain"]) == [8.0]
    # Only of its own pair.
    assert math.isnan(
        pair_of(Tables([*rows, compared], campaign).best_settings, 1, 0)["vanilla_gain"]
    )


def test_a_pair_whose_vanilla_is_still_to_come_is_not_final():
    base = make_campaign(stages=("tune", "compare"))
    tune = dataclasses.replace(base.tune, sampler="warm", budget=1)
    campaign = dataclasses.replace(base, tune=tune)
    rows = one_pair(campaign, {(2.0, 0.5): (3.0, 2.0)})
    compared = compare_row(campaign, (0, 1), ("vanilla", "student", 0), 0, outcome(1.0, 0.25))
    waiting = compare_row(campaign, (0, 1), ("vanilla", "student", 0), 0, None)
    assert not pair_of(Tables([*rows, waiting], campaign).best_settings, 0, 1)["complete"]
    assert pair_of(Tables([*rows, compared], campaign).best_settings, 0, 1)["complete"]


def test_vanilla_of_tuning_itself_comes_first():
    campaign = make_campaign(stages=("tune", "compare"))
    rows = one_pair(campaign, {(1.0, 0.5): (1.0, 0.75)})
    compared = compare_row(campaign, (0, 1), ("vanilla", "student", 0), 0, outcome(1.0, 0.25))
    assert pair_of(Tables([*rows, compared], campaign).best_settings, 0, 1)["vanilla_gain"] == 0.75


@pytest.mark.parametrize("t2_scale", [True, False])
def test_losses_of_equal_weight_at_one_temperature_differ_in_a_factor_only(t2_scale):
    from tests.train.test_losses import distillation_loss

    student, teacher = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0, 1])
    temperature, alpha = 4.0, 0.3
    weight = compute_kd_weight(temperature, alpha, t2_scale)
    other = weight / (1 + weight)  # the alpha that gives this weight without T squared
    assert compute_kd_weight(temperature, other, False) == pytest.approx(weight)
    loss = distillation_loss(student, teacher, labels, temperature, alpha, t2_scale)
    same = distillation_loss(student, teacher, labels, temperature, other, False)
    assert float(loss / (1 - alpha)) == pytest.approx(float(same / (1 - other)), rel=1e-5)


def test_the_weight_of_the_teacher_runs_from_nothing_to_infinity():
    assert [compute_kd_weight(2.0, alpha, True) for alpha in (0.0, 0.5, 1.0)] == [0, 4, math.inf]
    assert math.isnan(compute_kd_weight(math.nan, math.nan, True))
    best = Tables(make_rows(make_campaign()), make_campaign()).best_settings
    for line in best.to_dict("records"):
        assert line["effective_kd_weight"] == compute_kd_weight(
            line["temperature"], line["alpha"], True
        )
