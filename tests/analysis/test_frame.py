import json
import random

from kdopt.analysis.results import tabulate_participants, tabulate_trials
from tests.analysis.synthetic import make_campaign, make_rows, outcome, tune_row
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


def test_scores_and_rounds_are_lists_and_versions_are_json():
    columns = tabulate_trials(many_rows(many_campaign()))
    places = [i for i, stage in enumerate(columns["stage"]) if stage == "federate"]
    assert places
    for place in places:
        assert len(columns["rounds_test_accuracy"][place]) == ROUNDS + 1
        assert isinstance(columns["test_per_class"][place], tuple)
        assert json.loads(columns["versions"][place]) == {"kdopt": "0.1.0", "torch": "2.6"}
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
