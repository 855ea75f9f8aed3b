import math
import random
from dataclasses import replace

import pytest

from kdopt.analysis.best_settings import find_vanilla_point
from kdopt.analysis.results import (
    CampaignResults,
    average_points,
    group_by_pair,
    tabulate_participants,
)
from kdopt.outcome import Pair
from kdopt.report.export import tabulate_trials
from tests.analysis.synthetic import compare_row, make_campaign, make_rows, outcome, tune_row
from tests.report.many_synthetic import ROUNDS, many_campaign, many_rows


def test_one_entry_per_trial_in_every_state_and_column():
    campaign = make_campaign(replicates=2)
    rows = [
        *make_rows(campaign),
        tune_row(campaign, (0, 1), {}, 90),
        tune_row(campaign, (0, 1), {"temperature": 1.0}, 91, error="NaN loss"),
    ]
    columns = tabulate_trials(rows)
    assert {len(column) for column in columns.values()} == {len(rows)}
    lines = list(zip(columns["study"], columns["number"], strict=True))
    assert lines == sorted((row.study, row.number) for row in rows)
    by_key = {(row.study, row.number): row for row in rows}
    for place, key in enumerate(lines):
        row = by_key[key]
        assert columns["state"][place] == row.state
        assert columns["temperature"][place] == row.params.get("temperature")
        assert columns["error"][place] == row.error
        measured = row.outcome.validation_gain if row.outcome else None
        assert columns["validation_gain"][place] == measured


def test_scores_and_rounds_are_lists_and_versions_have_columns():
    columns = tabulate_trials(many_rows(many_campaign()))
    places = [i for i, stage in enumerate(columns["stage"]) if stage == "federate"]
    assert places
    for place in places:
        assert len(columns["rounds_test_accuracy"][place]) == ROUNDS + 1
        assert isinstance(columns["test_per_class"][place], tuple)
        found = {key: columns[key][place] for key in columns if key.startswith("version_")}
        assert found == {"version_kdopt": "0.1.0", "version_torch": "2.6"}
    others = [i for i, stage in enumerate(columns["stage"]) if stage == "pretrain"]
    assert {columns["rounds_test_accuracy"][i] for i in others} == {None}


def test_a_chosen_participant_does_not_hide_the_parameter_of_that_name():
    columns = tabulate_trials(many_rows(many_campaign()))
    stages = columns["stage"]
    parameter = dict(zip(stages, columns["participant"], strict=True))
    assert parameter["pretrain"] is not None and parameter["combine"] is None
    started = {v for s, v in zip(stages, columns["started_from"], strict=True) if s == "combine"}
    assert started - {None}


def test_tables_do_not_depend_on_the_order_of_rows():
    rows = make_rows(make_campaign(replicates=2))
    shuffled = random.Random(1).sample(rows, len(rows))
    assert tabulate_trials(rows) == tabulate_trials(shuffled)
    assert tabulate_participants(rows).equals(tabulate_participants(shuffled))


def test_participants_come_with_their_scores():
    frame = tabulate_participants(make_rows(make_campaign()))
    assert frame["participant"].tolist() == [0, 1, 2]
    assert frame["test_accuracy"].round(6).tolist() == [0.40, 0.43, 0.46]


def test_a_trial_that_did_not_run_has_no_numbers():
    campaign = make_campaign()
    rows = [tune_row(campaign, (0, 1), {}, 0), tune_row(campaign, (0, 1), {}, 1, outcome(1, 2))]
    columns = tabulate_trials(rows)
    assert columns["test_gain"] == [None, 2]
    assert columns["test_before_accuracy"] == [None, 0.5]


def test_no_rows_give_empty_tables_with_their_columns():
    assert set(map(len, tabulate_trials([]).values())) == {0}
    assert tabulate_participants([]).empty


TUNE = make_campaign().tune


PAIR = Pair("uniform", 0, 1)


DONE = outcome(3.0, 2.0)


def test_replicates_are_averaged_whatever_their_order():
    campaign = make_campaign()
    gains = [0.1, 0.2, 0.3, 1e-17, 7.7]
    rows = [
        tune_row(
            campaign,
            (0, 1),
            {"temperature": 1.0, "alpha": 0.5, "replicate": i},
            i,
            outcome(g, -g),
        )
        for i, g in enumerate(gains)
    ]
    expected = average_points(rows)
    assert expected[0].validation_gain == pytest.approx(sum(gains) / 5)
    assert expected[0].replicates == 5
    for seed in range(20):
        assert average_points(random.Random(seed).sample(rows, 5)) == expected


def test_a_record_without_gains_is_not_counted_as_zero():
    campaign = make_campaign()
    values = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    damaged = replace(outcome(1, 1), validation_gain=None)
    rows = [tune_row(campaign, (0, 1), values, 0, damaged)]
    assert average_points(rows) == []
    assert [pair.label for pair in group_by_pair(rows)] == ["t00-s01"]


def replace_gain(value, gain):
    return value._replace(validation_gain=gain)


def test_the_spread_over_replicates_is_the_sample_deviation():
    campaign = make_campaign()
    rows = [
        tune_row(
            campaign,
            (0, 1),
            {"temperature": 1.0, "alpha": 0.5, "replicate": i},
            i,
            outcome(0.0, gain),
        )
        for i, gain in enumerate([1.0, 2.0, 6.0])
    ]
    (found,) = average_points(rows)
    assert found.test_gain_sd == pytest.approx(7**0.5)
    assert average_points(rows[::-1]) == [found]
    assert math.isnan(average_points(rows[:1])[0].test_gain_sd)


VANILLA = ("vanilla", "student")


def candidates_of(rows):
    return CampaignResults(rows, make_campaign()).candidates


def test_vanilla_is_found_in_the_comparison_with_its_replicates_averaged():
    campaign = make_campaign(replicates=2)
    gains = [(1.0, 3.0), (2.0, 6.0)]
    rows = [
        compare_row(campaign, (0, 1), (*VANILLA, i), i, outcome(*both))
        for i, both in enumerate(gains)
    ]
    others = [
        tune_row(campaign, (0, 1), {"temperature": 2.0, "alpha": 0.9, "replicate": i}, i, DONE)
        for i in range(2)
    ]
    known = candidates_of([*rows, *others])[PAIR]
    assert known[:2] == others
    cell = find_vanilla_point(average_points(known), TUNE)
    assert (cell.temperature, cell.alpha) == (TUNE.vanilla_temperature, TUNE.vanilla_alpha)
    assert (cell.validation_gain, cell.test_gain, cell.replicates) == (1.5, 4.5, 2)
    # It is what the tuned study would have made of the same trials.
    tuned = [
        tune_row(
            campaign, (0, 1), {"temperature": 1.0, "alpha": 0.5, "replicate": i}, i, outcome(*both)
        )
        for i, both in enumerate(gains)
    ]
    assert find_vanilla_point(average_points(tuned), TUNE) == cell
    # One that is missing or damaged there stands in; never more than another cell has.
    damaged = replace(tuned[0], outcome=replace(tuned[0].outcome, test_gain=None))
    for some in ([tuned[1]], [damaged, tuned[1]]):
        both = candidates_of([*rows, *others, *some])[PAIR]
        assert find_vanilla_point(average_points(both), TUNE) == cell
    one = candidates_of([*rows[::-1], others[0]])[PAIR]
    assert find_vanilla_point(average_points(one), TUNE).replicates == 1
    assert find_vanilla_point(average_points(one), TUNE).test_gain == gains[0][1]
    # Where tuning has its own, or nothing at all yet, nothing stands in.
    assert candidates_of([*rows, *tuned]) == {PAIR: tuned}
    assert candidates_of(rows) == {}


def beside_another_cell(row):
    """The cells of a pair whose tuned study has one cell, and this row of the comparison."""
    other = {"temperature": 2.0, "alpha": 0.9, "replicate": 0}
    rows = [tune_row(make_campaign(), (0, 1), other, 0, DONE), row]
    return average_points(candidates_of(rows)[PAIR])


@pytest.mark.parametrize(
    "cell", [("vanilla", "public_labeled", 0), ("dml", "student", 0), ("dp_kd", "student", 0)]
)
def test_other_methods_and_other_data_are_not_vanilla(cell):
    row = compare_row(make_campaign(), (0, 1), cell, 0, outcome(1, 1))
    assert [c.temperature for c in beside_another_cell(row)] == [2.0]


def test_vanilla_that_is_not_done_or_damaged_or_another_pairs_is_not_there():
    campaign = make_campaign()
    done = compare_row(campaign, (0, 1), (*VANILLA, 0), 0, outcome(1, 1))
    assert len(beside_another_cell(done)) == 2
    for row in (
        compare_row(campaign, (0, 1), (*VANILLA, 0), 0, None),
        compare_row(campaign, (1, 0), (*VANILLA, 0), 0, outcome(1, 1)),
        replace(done, outcome=replace(outcome(1, 1), test_gain=None)),
    ):
        assert len(beside_another_cell(row)) == 1
