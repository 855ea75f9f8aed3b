from __future__ import annotations

import pandas as pd
import pytest

from kdopt.report.answer import compose_answer, format_answer
from tests.conftest import make_campaign


class Data:
    """What a report is made from, with a table of verdicts and nothing else."""

    has_pairs = True
    campaign = make_campaign()

    def __init__(self, *lines):
        columns = ["partition", "teacher", "student", "action", "net_gain", "test_gain"]
        self.tables = type("Tables", (), {"verdicts": pd.DataFrame(lines, columns=columns)})

    def shows_stage(self, *_):
        return False


UNKNOWN = float("nan")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([("uniform", 0, 1, "undecided", UNKNOWN, UNKNOWN)], ""),
        (
            [
                ("uniform", 0, 1, "distil", 3.0, 5.0),
                ("uniform", 1, 0, "leave as it is", 0.0, 0.0),
                ("uniform", 0, 2, "undecided", UNKNOWN, UNKNOWN),
            ],
            "distilling pays in 1 of 2 pairs: +1.50 pp net of training on alone, mean of all; "
            "best +3.00 pp (uniform/t00-s01)",
        ),
        (
            [("uniform", 0, 1, "distil", UNKNOWN, 5.0)],
            "distilling pays in 1 of 1 pairs: +5.00 pp on test, mean of all; "
            "best +5.00 pp (uniform/t00-s01)",
        ),
        (
            [("uniform", 0, 1, "train on", 0.0, 5.0)],
            "distilling pays in 0 of 1 pairs: 0.00 pp net of training on alone, mean of all",
        ),
    ],
)
def test_the_answer_counts_decided_pairs_and_says_net_where_a_control_ran(lines, said):
    assert format_answer(Data(*lines)) == said


def test_until_every_control_has_run_the_net_gain_is_not_yet_known():
    data = Data(
        ("uniform", 0, 1, "distil", UNKNOWN, 5.0), ("uniform", 1, 0, "leave as it is", 0.0, 0.0)
    )
    data.campaign = make_campaign(control=True)
    said = "+2.50 pp on test, mean of all (net of training on alone: not yet)"
    assert said in format_answer(data)


def make_payoff(gain, net, low, high):
    names = ("advised_gain", "advised_net_gain", "advised_net_low", "advised_net_high", "n")
    return pd.DataFrame([dict(zip(names, (gain, net, low, high, 4), strict=True))])


@pytest.mark.parametrize(
    ("net", "low", "high", "said"),
    [
        (
            *(2.14, -0.5, 4.8),
            ". +2.14 pp of it is because of the teachers (95 % over participants: -0.50 to 4.80, "
            "includes 0).",
        ),
        (
            *(2.14, 0.5, 4.8),
            ". +2.14 pp of it is because of the teachers (95 % over participants: 0.50 to 4.80).",
        ),
        (
            *(2.14, UNKNOWN, UNKNOWN),
            ". +2.14 pp of it is because of the teachers (too few participants for an interval).",
        ),
        (
            *(UNKNOWN, UNKNOWN, UNKNOWN),
            ". What of it is because of the teachers is not known.",
        ),
    ],
)
def test_the_first_sentence_of_the_page_says_what_to_do_and_what_it_brings(net, low, high, said):
    data = Data(
        ("uniform", 0, 1, "leave as it is", 0.0, 0.0),
        ("skewed", 0, 1, "distil", 3.0, 5.0),
        ("skewed", 1, 0, "distil", 3.0, 5.0),
        ("skewed", 2, 0, "train on", 0.0, 5.0),
        ("skewed", 2, 1, "undecided", UNKNOWN, UNKNOWN),
    )
    data.tables.payoff = make_payoff(4.68, net, low, high)
    assert compose_answer(data) == (
        "Distil 2 of the 5 pairs, all of Skewed; train 1 on without a teacher; leave 1 as they "
        "are; 1 are not decided yet. Following this gains +4.68 pp on test on average over all 4 "
        f"pairs, 0 for those left as they are{said}"
    )


def test_before_a_verdict_the_page_has_no_first_sentence():
    assert compose_answer(Data(("uniform", 0, 1, "undecided", UNKNOWN, UNKNOWN))) == ""
