"""The card says what the student is, what it gained and whether it is the one on record."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from kdopt.analysis.paired_test import ImageLead
from kdopt.analysis.reruns import compare_outcomes
from kdopt.analysis.students import ChosenTrial, StudentRecord
from kdopt.campaign.participants import Architecture
from kdopt.outcome import Outcome, Pair, Scores, StudentFacts, TrialRow
from kdopt.report.student_card import format_student_card, summarise_student
from tests.conftest import make_campaign

FACTS = StudentFacts(
    "c/u/tune/t00-s01 #3", "mlp", (1, 8, 8), ("a|b", "c"), (0.3,), (0.4,), "fp32", 0.75, 4
)


def make_scores(accuracy):
    return Scores(accuracy, (accuracy, accuracy), 0.5, 4)


UNTOUCHED = Outcome(
    0.5, make_scores(0.5), make_scores(0.5), 2, 2, 0.5, 0.5, 1.0, "cpu", "fp32", {"torch": "2.6"}
)
RECORDED = replace(UNTOUCHED, test=make_scores(0.75), test_gain=25.0)


def make_student(action="distil", found=RECORDED, **changes):
    stage = {"distil": "tune", "train on": "control", "leave as it is": "pretrain"}[action]
    row = TrialRow(f"c/u/{stage}/t00-s01", "u", stage, 0, 1, 3, "COMPLETE", {}, RECORDED)
    values = {
        "campaign": "c",
        "pair": Pair("u", 0, 1),
        "chosen": ChosenTrial(row, action, by_verdict=True),
        "method": "tuned",
        "temperature": 4.0,
        "alpha": 0.9,
        "images": "student",
        "source": "trained again",
        "found": found,
        "deviations": compare_outcomes(RECORDED, found),
        "machine": "",
        "untouched": UNTOUCHED,
        "gain": ImageLead(25.0, 5.0),
        "net_gain": ImageLead(10.0, 15.0),
        "replicates": 1,
        "mean_gain": 25.0,
        "hashes": {"teacher (participant 0)": "d" * 64},
    }
    return StudentRecord(**{**values, **changes})


def write_card(student):
    files = {"s.safetensors": "e" * 64, "s.onnx": "f" * 64}
    return format_student_card(student, FACTS, make_campaign(), files)


def test_a_distilled_student_has_its_setting_gains_and_intervals():
    said = summarise_student(make_student())
    assert said == [
        "c/u/t00-s01: distil: Tuned, T=4, alpha=0.9 (the verdict)",
        "c/u/tune/t00-s01 #3, trained again from its seed; every recorded number came out again.",
        "Test accuracy 50.00 % before, 75.00 % after: gain +25.00 pp (+20.00 to +30.00), "
        "net gain +10.00 pp (-5.00 to +25.00).",
    ]
    card = write_card(make_student())
    for line in (said[-1], "| before | 50.00 % | 50.00 % |", "| temperature | 4 |", r"a\|b"):
        assert line in card
    for sha256 in "def":
        assert f"`{sha256 * 64}`" in card
    assert "mean 0.3 and std 0.4" in card and 'read_student("s.safetensors")' in card


def test_the_card_says_what_the_students_own_module_takes_and_gives():
    assert "It takes and gives the same as `student.model`." in write_card(make_student())
    kind = Architecture("mlp", ("c", "a|b"), 12, 3, (0.5,) * 3, (0.2,) * 3)
    facts = replace(FACTS, architecture=kind, precision="bf16")
    card = format_student_card(make_student(), facts, make_campaign(), {"s.safetensors": "e"})
    assert 'model.load_state_dict(load_file("s.safetensors"))' in card
    assert "scored in bf16: in float32 a few images come out otherwise" in card
    assert (
        "It takes images like these, the grey channel 3 times, resized to 12x12 (bilinear), "
        "normalised with mean 0.5, 0.5, 0.5 and std 0.2, 0.2, 0.2 instead, and gives logits in "
        r"this order: c, a\|b." in card
    )


@pytest.mark.parametrize(
    ("action", "head", "gain"),
    [
        ("train on", "this is the student trained on without a teacher", "after: gain +25.00 pp"),
        ("leave as it is", "this is the pre-trained student", "Test accuracy 75.00 %."),
    ],
)
def test_a_student_without_a_teacher_says_so_and_has_no_net_gain(action, head, gain):
    student = make_student(action, method="", temperature=math.nan, alpha=math.nan)
    said = "\n".join(summarise_student(student))
    assert head in said and gain in said and "net gain" not in said
    assert "net gain" not in write_card(student) and "temperature" not in write_card(student)


def test_what_is_not_known_is_said_or_left_out():
    said = summarise_student(make_student(gain=None, net_gain=None))[-1]
    assert said.endswith("gain +25.00 pp, net gain not known.")


def test_a_difference_from_the_record_is_stated_with_the_machine():
    other = replace(RECORDED, test=make_scores(0.5), versions={"torch": "2.7"})
    student = make_student(found=other, machine="torch 2.6 (now 2.7)")
    said = "\n".join(summarise_student(student))
    assert "test accuracy on record 75.00 %, now 50.00 %, and 3 recorded values differ" in said
    assert "not those of the record: torch 2.6 (now 2.7)." in said
    assert "50.00 % after: gain 0.00 pp" in said
    card = write_card(student)
    assert "| test.accuracy | 0.75 | 0.5 |" in card and "| torch | 2.6 | 2.7 |" in card
    same = "\n".join(summarise_student(make_student(found=other)))
    assert "Machine and versions are those of the record, so this should not be." in same


def test_of_several_replicates_the_card_gives_the_mean_gain():
    card = write_card(make_student(replicates=3, mean_gain=20.0))
    assert "the best on validation of 3 trials of this setting" in card and "+20.00 pp" in card
