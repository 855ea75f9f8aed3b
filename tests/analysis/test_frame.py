import random

from kdopt.analysis.frame import participants_frame, trials_frame
from tests.analysis.synthetic import make_campaign, make_rows, outcome, tune_row


def test_one_line_per_complete_tune_trial():
    campaign = make_campaign(replicates=2)
    rows = make_rows(campaign)
    frame = trials_frame(rows)
    assert len(frame) == len(campaign.pairs) * 9 * 2
    line = frame.iloc[0]
    row = next(r for r in rows if r.stage == "tune")
    assert line["validation_gain"] == row.outcome.validation_gain
    assert (line["temperature"], line["alpha"], line["replicate"]) == (0.5, 0.1, 0)
    assert (line["device"], line["precision"], line["epochs"]) == ("cpu", "fp32", 5)


def test_open_failed_and_waiting_trials_are_left_out():
    campaign = make_campaign()
    cell = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    rows = [
        tune_row(campaign, (0, 1), cell, 0, outcome(1, 2)),
        tune_row(campaign, (0, 1), cell, 1, error="NaN loss"),
        tune_row(campaign, (0, 1), {}, 2),
    ]
    assert trials_frame(rows)["test_gain"].tolist() == [2.0]


def test_frames_do_not_depend_on_the_order_of_rows():
    rows = make_rows(make_campaign(replicates=2))
    shuffled = random.Random(1).sample(rows, len(rows))
    assert trials_frame(rows).equals(trials_frame(shuffled))
    assert participants_frame(rows).equals(participants_frame(shuffled))


def test_participants_come_with_their_scores():
    frame = participants_frame(make_rows(make_campaign()))
    assert frame["participant"].tolist() == [0, 1, 2]
    assert frame["test_accuracy"].round(6).tolist() == [0.40, 0.43, 0.46]


def test_no_rows_give_empty_frames_with_their_columns():
    assert list(trials_frame([]).columns[:3]) == ["partition", "teacher", "student"]
    assert participants_frame([]).empty
