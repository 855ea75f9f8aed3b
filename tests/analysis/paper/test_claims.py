import math
import random
from dataclasses import replace

import pytest

from kdopt.analysis.paper.claims import CLAIMS, judge_claims
from kdopt.analysis.tables import compute_tables
from kdopt.campaign.settings import DataSettings, PartitionSettings
from tests.analysis.synthetic import (
    ALPHAS,
    TEMPERATURES,
    compare_campaign,
    compare_rows,
    make_rows,
    paper_gain,
    pretrain_rows,
)


def hill(gap, temperature, alpha):
    """Top at greater T and alpha for stronger teachers, and never far below the paper's 2 pp."""
    best_alpha = 0.7 if gap > 0 else 0.3
    best_log = math.log(4) if gap > 0 else math.log(0.5)
    distance = (math.log(temperature) - best_log) ** 2 + 9 * (alpha - best_alpha) ** 2
    return 3 + max(0, gap) / 3 - 0.4 * distance * abs(gap) / 5


def low_hill(gap, temperature, alpha):
    return 5 - (math.log(temperature / 0.5)) ** 2 - 4 * (alpha - 0.1) ** 2


@pytest.fixture(scope="module")
def campaign():
    return compare_campaign(participants=6, tune_temperatures=TEMPERATURES, tune_alphas=ALPHAS)


def judged(campaign, rows):
    return {claim.id: claim for claim in judge_claims(compute_tables(rows, campaign))}


@pytest.fixture(scope="module")
def as_the_paper_says(campaign):
    rows = make_rows(campaign, hill, hill)
    low = make_rows(campaign, low_hill, low_hill)
    rows = [r for r in rows if r.partition != "specialized"]
    rows += [r for r in low if r.partition == "specialized"]
    return judged(campaign, rows + compare_rows(campaign))


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 7, 8])
def test_claims_that_hold_are_supported(as_the_paper_says, number):
    assert as_the_paper_says[f"C{number}"].verdict == "supported", as_the_paper_says[f"C{number}"]


def upside_down(partition, transfer_set, method, gap):
    return -paper_gain(partition, transfer_set, method, gap)


@pytest.mark.parametrize("number", [2, 3, 4, 5, 7, 9])
def test_claims_that_are_wrong_are_not_supported(campaign, number):
    def valley(gap, temperature, alpha):
        return -20 + 3 * abs(alpha - 0.3) * (1 if gap < 0 else -1) - math.log(temperature) * gap

    rows = make_rows(campaign, valley, valley) + compare_rows(campaign, upside_down)
    assert judged(campaign, rows)[f"C{number}"].verdict == "not supported"


def test_smaller_sets_that_transfer_more_contradict_c1(campaign):
    def shrinking(partition, transfer_set, method, gap):
        size = 0.5 if transfer_set == "public_unlabeled_large" else 1.0
        return size * (2 + gap / 3 if method != "dml" else -4)

    rows = pretrain_rows(campaign) + compare_rows(campaign, shrinking)
    assert judged(campaign, rows)["C1"].verdict == "not supported"


def test_high_settings_on_specialized_contradict_c8(campaign):
    def high(gap, temperature, alpha):
        return math.log(temperature) + alpha

    found = judged(campaign, make_rows(campaign, high, high))["C8"]
    assert found.verdict == "not supported"


def test_methods_that_win_and_lose_in_turn_are_inconclusive(campaign):
    def tied(partition, transfer_set, method, gap):
        return (-1) ** round(gap / 3) * (1.0 if method == "vanilla" else 0.0)

    rows = pretrain_rows(campaign) + compare_rows(campaign, tied)
    assert judged(campaign, rows)["C4"].verdict == "inconclusive"


def test_a_paired_contrast_sees_what_the_spread_of_pairs_hides(campaign):
    def paired(partition, transfer_set, method, gap):
        return 3 * gap + (0.3 if method == "vanilla" else 0.0)

    found = judged(campaign, pretrain_rows(campaign) + compare_rows(campaign, paired, 0.0))["C4"]
    assert found.verdict == "supported"
    assert found.contrasts[0].value == pytest.approx(0.3)


def test_c5_compares_test_gains_of_cells_selected_on_validation(campaign):
    def validation(gap, temperature, alpha):
        return 9 * alpha

    def test(gap, temperature, alpha):
        return -9 * alpha

    rows = make_rows(campaign, validation, test) + compare_rows(campaign, lambda *_: 0.0)
    found = judged(campaign, rows)["C5"]
    assert found.verdict == "not supported"
    assert found.contrasts[0].value < -7
    assert "winner's curse" in found.remark and "oracle" in found.remark
    assert "Noise floor unknown" in found.remark


def test_selection_on_test_supports_nothing(campaign):
    chosen = replace(campaign, select_on="test")
    rows = make_rows(chosen, lambda *_: 9.0, lambda *_: 9.0) + compare_rows(chosen)
    found = judged(chosen, rows)["C5"]
    assert found.verdict == "inconclusive"
    assert "by construction" in found.remark
    assert all(c.verdict == "supported" for c in found.contrasts)


def test_cinic_is_judged_on_cinic_only(campaign):
    rows = make_rows(campaign, hill, hill) + compare_rows(campaign)
    elsewhere = judged(campaign, rows)["C10"]
    assert elsewhere.verdict == "inconclusive" and "within one campaign" in elsewhere.remark
    cinic = replace(campaign, data=DataSettings("cinic10"))
    assert len(judged(cinic, rows)["C10"].contrasts) == 2 + 2 + 3


def test_even_choices_and_a_blind_dml_support_c11():
    campaign = compare_campaign(participants=10)

    rng = random.Random(0)

    def gain(partition, transfer_set, method, gap):
        blind = partition == "uniform" or method == "dml"
        return rng.random() if blind else gap

    rows = pretrain_rows(campaign) + compare_rows(campaign, gain, 0.0)
    found = judged(campaign, rows)["C11"]
    assert [c.verdict for c in found.contrasts[:2]] == ["supported", "supported"]
    only_top = compare_rows(campaign, lambda p, s, m, gap: gap, 0.0)
    assert judged(campaign, pretrain_rows(campaign) + only_top)["C11"].verdict == "not supported"


def test_missing_data_says_what_to_run(campaign):
    tune_only = replace(campaign, stages=("tune",))
    found = judged(tune_only, make_rows(tune_only, hill, hill))
    for number in (1, 2, 3, 4):
        assert found[f"C{number}"].verdict == "no data"
        assert 'add "compare" to stages' in found[f"C{number}"].need
    for number in (6, 7, 8):
        assert found[f"C{number}"].need == ""
    compare_only = replace(campaign, stages=("compare",))
    found = judged(compare_only, pretrain_rows(campaign) + compare_rows(compare_only))
    for number in (5, 6, 7, 8, 9):
        assert found[f"C{number}"].verdict == "no data"
        assert 'add "tune" to stages' in found[f"C{number}"].need
    assert found["C4"].need == ""


def test_partitions_that_are_not_there_are_named():
    campaign = compare_campaign(partitions=(PartitionSettings("uniform"),))
    rows = make_rows(campaign) + compare_rows(campaign)
    found = judged(campaign, rows)
    assert found["C8"].verdict == "no data"
    assert found["C8"].need == 'add "specialized" to partitions and run again'
    assert found["C3"].verdict in ("inconclusive", "not supported")
    assert '"label_dirichlet" to partitions' in found["C3"].need


@pytest.mark.parametrize("sampler", ["grid", "sequential", "tpe"])
@pytest.mark.parametrize("stages", [("tune",), ("compare",), ("tune", "compare")])
def test_no_part_of_a_campaign_is_too_little(sampler, stages):
    campaign = compare_campaign(participants=2, replicates=2, stages=stages, tune_sampler=sampler)
    rows = make_rows(campaign) + compare_rows(campaign)
    for some in ([], pretrain_rows(campaign), rows[12:], rows[:-7], rows[::3]):
        found = judge_claims(compute_tables(some, campaign))
        assert [c.id for c in found] == [f"C{i + 1}" for i in range(len(CLAIMS))]


def test_order_of_rows_changes_nothing(campaign):
    rows = make_rows(campaign) + compare_rows(campaign)
    assert judge_claims(
        compute_tables(random.Random(3).sample(rows, len(rows)), campaign)
    ) == judge_claims(compute_tables(rows, campaign))
