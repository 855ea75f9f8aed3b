"""Campaigns in which nothing differs: chance decides no claim more often than the rule says."""

from collections import Counter
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from kdopt.analysis.paper.claims import judge_claims
from kdopt.analysis.results import PointMean
from kdopt.analysis.tables import Tables
from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.stage_settings import METHODS, TRANSFER_SETS
from kdopt.outcome import Pair
from tests.analysis.synthetic import ALPHAS, FIVE, TEMPERATURES
from tests.analysis.synthetic_many import combine_rows, federate_row, many_campaign

RUNS, PARTICIPANTS = 100, 6
TRUE_IN_NOISE = {"C9"}
"""That there is no pattern is true where nothing differs, and may be supported."""


def make_noise(rng):
    """A finished campaign whose gains differ by student and by chance only."""
    campaign = many_campaign(
        stages=("tune", "compare", "combine", "federate"),
        participants=PARTICIPANTS,
        data=DataSettings("cinic10"),
        tune_temperatures=TEMPERATURES,
        tune_alphas=ALPHAS,
    )
    tables = Tables(
        [*combine_rows(campaign, lambda *_: rng.normal(50, 3)), *make_federated(rng, campaign)],
        campaign,
    )
    pairs = [Pair(name, *pair) for name in FIVE for pair in permutations(range(PARTICIPANTS), 2)]
    about = pd.DataFrame(pairs)
    accuracy = rng.normal(50, 6, (len(FIVE), PARTICIPANTS))
    place = [FIVE.index(pair.partition) for pair in pairs]
    teacher, student = (accuracy[place, about[key]] for key in ("teacher", "student"))
    gap = teacher - student
    about = about.assign(
        teacher_accuracy=teacher,
        student_accuracy=student,
        accuracy_gap=gap,
        validation_gap=gap,
        teacher_kind=np.select([gap > 5, gap < -5], ["strong", "much weaker"], "similar"),
    )
    methods = [(name, method) for name in TRANSFER_SETS for method in METHODS]
    gains = [
        about.assign(
            transfer_set=name, method=method, source="compare",
            **{key: draw(rng, place, about) for key in ("test_gain", "learning", "forgetting")},
        )
        for name, method in [*methods, ("student", "tuned")]
    ]  # fmt: skip
    table = pd.concat(gains, ignore_index=True)
    n = len(pairs)
    best = about.assign(
        temperature=rng.choice(TEMPERATURES, n), alpha=rng.choice(ALPHAS, n),
        validation_gain=1.0, test_gain=1.0, oracle_gain=1.0,
    )  # fmt: skip
    points = [PointMean(1.0, 0.5, gain, gain, 1) for gain in (1.0, 0.0)]
    vars(tables)["method_gains"] = table.assign(
        net_gain=table["test_gain"], family=table["partition"]
    )
    vars(tables)["measured_settings"] = best
    vars(tables.results)["points"] = dict.fromkeys(pairs, points)
    return tables


def make_federated(rng, campaign):
    """Rounds and classes of both initial models from one distribution."""
    for name in FIVE:
        for initial in ("random", "consolidated"):
            curve = np.sort(rng.uniform(20, 60, 11))
            classes = tuple(rng.normal(0.5, 0.05, 10) for _ in range(2))
            yield federate_row(campaign, name, initial, list(curve), per_class=classes)


def draw(rng, place, about):
    """Mean 0, half of the variance with the student; no teacher is better than another."""
    student = rng.normal(size=(len(FIVE), PARTICIPANTS))
    own = rng.normal(size=len(about))
    return np.sqrt(0.5) * student[place, about["student"]] + np.sqrt(0.5) * own


@pytest.fixture(scope="module")
def verdicts():
    rng = np.random.default_rng(7)
    return Counter(
        (claim.id, claim.verdict) for _ in range(RUNS) for claim in judge_claims(make_noise(rng))
    )


@pytest.mark.parametrize("number", range(1, 15))
def test_noise_decides_no_claim_in_more_than_seven_per_cent_of_campaigns(verdicts, number):
    claim = f"C{number}"
    assert verdicts[claim, "no data"] == 0
    assert verdicts[claim, "contradicted"] <= 0.07 * RUNS
    if claim not in TRUE_IN_NOISE:
        assert verdicts[claim, "supported"] <= 0.07 * RUNS
