import math
import random
from dataclasses import replace

import pytest

from kdopt.analysis.combining import TABLE_II
from kdopt.analysis.paper.claims import judge_claims
from kdopt.analysis.paper.many_teacher_claims import find_adaptive_weighting
from kdopt.analysis.tables import Tables
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import TransferSettings
from kdopt.campaign.stage_settings import WEIGHTINGS
from tests.analysis.synthetic import compare_campaign, compare_rows, make_rows
from tests.analysis.synthetic_many import (
    combine_row,
    combine_rows,
    federate_row,
    federate_rows,
    many_campaign,
)

HELPED = {"quantity_skew": 2.0, "label_dirichlet": 5.0, "label_chunks": 0.1}


def as_told(partition, transfer_set, start, weighting, replicate):
    """The text of section V-A: the start counts, then the weights, and the data hardly."""
    level = {"best": 75.0, "worst": 68.0, "untrained": 66.0}[start]
    if (transfer_set, start) == ("student", "worst"):
        level = 30.0
    helped = HELPED.get(partition, -1.5) if weighting != "equal" else 0.0
    jitter = 0.2 * math.sin(len(partition) + 3 * len(transfer_set) + 5 * len(start) + 7 * replicate)
    return level + helped * (1 + jitter) + jitter


def curve(partition, initial, replicate):
    """Consolidation saves about half of the rounds and ends below the long random run."""
    pace = 12 if initial == "consolidated" else 6
    start = 30 if initial == "consolidated" else 10
    return [min(start + pace * number, 70 + replicate) for number in range(11)]


def judged(campaign, rows):
    return {claim.id: claim for claim in judge_claims(Tables(rows, campaign))}


@pytest.fixture(scope="module")
def campaign():
    return many_campaign(replicates=2)


@pytest.fixture(scope="module")
def found(campaign):
    return judged(campaign, combine_rows(campaign, as_told) + federate_rows(campaign, curve))


@pytest.mark.parametrize("name", ["C13", "C14"])
def test_claims_that_hold_are_supported(found, name):
    assert found[name].verdict == "supported", found[name]
    assert found[name].need == ""


def test_every_observation_is_counted_once(found):
    # 5 partitions; for the weights 5 columns of Table II, whatever the number of replicates.
    assert [c.n for c in found["C13"].contrasts] == [5] * 8
    # 5 partitions; 5 classes.
    assert [c.n for c in found["C14"].contrasts] == [5, 5, 5]


def test_the_papers_table_is_judged_by_its_numbers():
    campaign = many_campaign()
    found = judged(campaign, combine_rows(campaign))["C13"]
    for contrast in found.contrasts:
        assert contrast.verdict == "supported", contrast
    assert found.verdict == "supported"
    # Also where one cell is an exception, the worst student's data on Quantity Skew.
    (skew,) = (c for c in found.contrasts if c.label.startswith("quantity_skew"))
    paper = [v.weighted - v.unweighted for k, v in TABLE_II.items() if k[0] == "quantity_skew"]
    assert min(paper) < 0 and skew.value == pytest.approx(sum(paper) / 5)
    assert "better_share 20 of 20" in found.remark


def test_the_opposite_is_not_supported(campaign):
    def opposite(*where):
        return 100 - as_told(*where)

    def backwards(partition, initial, replicate):
        return curve(partition, {"random": "consolidated"}.get(initial, "random"), replicate)

    rows = combine_rows(campaign, opposite) + federate_rows(campaign, backwards)
    found = judged(campaign, rows)
    assert found["C13"].verdict == found["C14"].verdict == "contradicted"
    starts = found["C13"].contrasts[:2]
    assert all(c.verdict == "contradicted" for c in starts)


def test_consolidation_that_is_enough_alone_contradicts_c14(campaign):
    def enough(partition, initial, replicate):
        flat = [80.0 + 0.1 * number for number in range(11)]
        return flat if initial == "consolidated" else curve(partition, initial, replicate)

    found = judged(campaign, federate_rows(campaign, enough))["C14"]
    assert found.contrasts[0].verdict == "supported"
    assert [c.verdict for c in found.contrasts[1:]] == ["contradicted"] * 2
    assert found.verdict == "contradicted"


def test_data_that_differ_are_not_comparable(campaign):
    def far(partition, transfer_set, start, weighting, replicate):
        lag = 4.0 if transfer_set == "student" else 0.0
        return as_told(partition, transfer_set, start, weighting, replicate) - lag

    found = judged(campaign, combine_rows(campaign, far))["C13"]
    data = next(c for c in found.contrasts if "its own data" in c.label)
    assert data.verdict == "contradicted" and found.verdict == "contradicted"


def test_a_worst_start_is_judged_on_public_sets_only(campaign):
    def same(partition, transfer_set, start, weighting, replicate):
        return 30.0 if (transfer_set, start) == ("student", "worst") else 60.0

    found = judged(campaign, combine_rows(campaign, same))["C13"]
    assert found.contrasts[0].value == 0 and found.contrasts[0].verdict == "undecided"
    assert found.contrasts[3].value == pytest.approx(30)


def test_the_formula_of_federated_averaging_is_judged_where_it_was_run():
    every = many_campaign(combine_weightings=WEIGHTINGS, federate_weighting="share")
    rows = combine_rows(every, as_told)
    assert find_adaptive_weighting(Tables(rows, every)) == "share"
    assert all("share" in c.label for c in judged(every, rows)["C13"].contrasts[4:])
    some = many_campaign(combine_weightings=("equal", "student_share", "excess_share"))
    rows = combine_rows(some, as_told)
    assert find_adaptive_weighting(Tables(rows, some)) == "student_share"
    equal = many_campaign(combine_weightings=("equal",), federate_weighting="equal")
    assert find_adaptive_weighting(Tables(combine_rows(equal, as_told), equal)) is None


def test_the_remark_names_the_formula_nearest_to_the_paper():
    campaign = many_campaign(combine_weightings=("equal", "better_share", "share"))

    def accuracy(partition, transfer_set, start, weighting, replicate):
        sign = {"equal": 0, "better_share": -1, "share": 1}[weighting]
        paper = TABLE_II[partition, transfer_set, start]
        return 50 + sign * (paper.weighted - paper.unweighted)

    remark = judged(campaign, combine_rows(campaign, accuracy))["C13"].remark
    assert "formula better_share" in remark
    assert "share 20 of 20 (rank correlation 1.00), better_share 0 of 20" in remark
    few = many_campaign(
        combine_weightings=campaign.combine.weightings,
        combine_starts=("best",),
        combine_transfer_sets=("student",),
        partitions=campaign.partitions[:1],
    )
    remark = judged(few, combine_rows(few, accuracy))["C13"].remark
    assert "share 1 of 1, better_share 0 of 1" in remark  # a correlation needs three


def test_the_remark_counts_what_is_censored():
    campaign = many_campaign(
        partitions=(PartitionSettings("specialized"),),
        federate_targets=(),
        federate_relative_targets=(0.5, 1.0),
    )
    rows = [
        federate_row(campaign, "specialized", "random", [10, 20, 30, 40]),
        federate_row(campaign, "specialized", "consolidated", [15, 25, 30, 35]),
    ]
    found = judged(campaign, rows)["C14"]
    assert "0 are at least and 1 at most" in found.remark and "60.6 %" in found.remark
    assert found.contrasts[0].n == 1 and found.contrasts[0].value == pytest.approx(0)


def test_missing_data_say_what_to_run():
    pairwise = compare_campaign()
    found = judged(pairwise, make_rows(pairwise) + compare_rows(pairwise))
    assert found["C13"].verdict == found["C14"].verdict == "no data"
    assert found["C13"].need == 'add "combine" to stages and run again'
    assert found["C14"].need == 'add "federate" to stages and run again'
    assert found["C13"].remark == found["C14"].remark == ""

    few = many_campaign(
        partitions=(PartitionSettings("uniform"),),
        transfer=TransferSettings(0, 0, 0),
        combine_starts=("best",),
        combine_transfer_sets=("student",),
        combine_weightings=("better_share",),
        federate_initial_models=("random",),
        federate_relative_targets=(),
    )
    found = judged(few, combine_rows(few, as_told))
    for part in (
        '"label_dirichlet" to partitions',
        "transfer.public_unlabeled_large (with images)",
        '"public_unlabeled_large" to combine.transfer_sets',
        '"worst" to combine.starts',
        '"equal" to combine.weightings',
    ):
        assert part in found["C13"].need
    assert "better_share" not in found["C13"].need
    for part in (
        '"consolidated" to federate.initial_models',
        "shares to federate.relative_targets",
    ):
        assert part in found["C14"].need

    planned = judged(many_campaign(), [])
    assert planned["C13"].need == planned["C14"].need == "run the campaign to its end"


def test_formulas_that_were_not_run_are_asked_for():
    campaign = many_campaign(combine_weightings=("equal",), federate_weighting="equal")
    found = judged(campaign, combine_rows(campaign, as_told))["C13"]
    assert found.need == 'add "better_share" to combine.weightings and run again'
    assert [c.n for c in found.contrasts[4:]] == [0] * 4


def test_other_claims_do_not_see_the_new_stages(campaign):
    pairwise = compare_campaign()
    rows = make_rows(pairwise) + compare_rows(pairwise)
    more = combine_rows(campaign, as_told) + federate_rows(campaign, curve)
    first, second = (judge_claims(Tables(some, pairwise))[:12] for some in (rows + more, rows))
    assert repr(first) == repr(second)


def test_order_of_rows_changes_nothing(campaign):
    rng = random.Random(0)
    rows = combine_rows(campaign, lambda *_: rng.uniform(20, 90))
    rows += federate_rows(campaign, lambda *_: sorted(rng.uniform(5, 95) for _ in range(11)))
    for some in (rows, rows[::3], rows[:-5]):
        shuffled = random.Random(3).sample(some, len(some))
        first, second = (judged(campaign, r) for r in (shuffled, some))
        assert {k: repr(v) for k, v in first.items()} == {k: repr(v) for k, v in second.items()}


@pytest.mark.parametrize("stages", [("combine",), ("federate",), ("combine", "federate")])
def test_progress_counts_the_planned_trials(stages):
    campaign = many_campaign(replicates=2, stages=stages)
    planned = {"combine": 5 * 2 * (3 + 2) * 2, "federate": 5 * 2 * 2}
    counted = {p.stage: p for p in Tables([], campaign).progress}
    assert set(counted) == {"pretrain", *stages}
    assert all(counted[stage].missing == planned[stage] for stage in stages)
    row = combine_row(campaign, "uniform", ("student", "best", "equal"), 50.0)
    counted = {p.stage: p for p in Tables([row], campaign).progress}
    assert counted["combine"].complete == 1
    failed = replace(row, state="FAIL", outcome=None)
    assert {p.stage: p for p in Tables([failed], campaign).progress}["combine"].failed == 1
