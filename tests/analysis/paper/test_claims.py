import math
import random
from dataclasses import replace

import pytest

from kdopt.analysis.agreement import ComparedCampaign
from kdopt.analysis.paper.claims import CLAIMS, compare_patterns, judge_claims
from kdopt.analysis.paper.judging import combine_verdicts, make_empty_contrast
from kdopt.analysis.stats import correlate_ranks
from kdopt.analysis.tables import Tables
from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.partition_settings import PartitionSettings
from tests.analysis.synthetic import (
    ALPHAS,
    TEMPERATURES,
    compare_campaign,
    compare_rows,
    make_campaign,
    make_rows,
    paper_gain,
    pretrain_rows,
    validation_surface,
)


def hill(gap, temperature, alpha):
    """Top at greater T and alpha for stronger teachers, and never far below the paper's 2 pp."""
    best_alpha = 0.7 if gap > 0 else 0.3
    best_log = math.log(4) if gap > 0 else math.log(0.5)
    distance = (math.log(temperature) - best_log) ** 2 + 9 * (alpha - best_alpha) ** 2
    return 4 + max(0, gap) / 3 - 0.4 * distance * abs(gap) / 5


def low_hill(gap, temperature, alpha):
    return 5 - (math.log(temperature / 0.5)) ** 2 - 4 * (alpha - 0.1) ** 2


@pytest.fixture(scope="module")
def campaign():
    return compare_campaign(participants=6, tune_temperatures=TEMPERATURES, tune_alphas=ALPHAS)


def judged(campaign, rows):
    return {claim.id: claim for claim in judge_claims(Tables(rows, campaign))}


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
def test_claims_that_are_wrong_are_contradicted(campaign, number):
    def valley(gap, temperature, alpha):
        return -20 + 3 * abs(alpha - 0.3) * (1 if gap < 0 else -1) - math.log(temperature) * gap

    rows = make_rows(campaign, valley, valley) + compare_rows(campaign, upside_down)
    assert judged(campaign, rows)[f"C{number}"].verdict == "contradicted"


def test_smaller_sets_that_transfer_more_contradict_c1(campaign):
    def shrinking(partition, transfer_set, method, gap):
        size = 0.5 if transfer_set == "public_unlabeled_large" else 1.0
        return size * (2 + gap / 3 if method != "dml" else -4)

    rows = pretrain_rows(campaign) + compare_rows(campaign, shrinking)
    assert judged(campaign, rows)["C1"].verdict == "contradicted"


def test_high_settings_on_specialized_contradict_c8(campaign):
    def high(gap, temperature, alpha):
        return math.log(temperature) + alpha

    found = judged(campaign, make_rows(campaign, high, high))["C8"]
    assert found.verdict == "contradicted"


def test_methods_that_win_and_lose_in_turn_are_undecided(campaign):
    def tied(partition, transfer_set, method, gap):
        return (-1) ** round(gap / 3) * (1.0 if method == "vanilla" else 0.0)

    rows = pretrain_rows(campaign) + compare_rows(campaign, tied)
    assert judged(campaign, rows)["C4"].verdict == "undecided"


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
    assert found.verdict == "contradicted"
    assert found.contrasts[0].value < -7
    assert "winner's curse" in found.remark and "oracle" in found.remark
    assert "Noise floor unknown" in found.remark


def test_selection_on_test_supports_nothing(campaign):
    chosen = replace(campaign, select_on="test")
    rows = make_rows(chosen, lambda *_: 9.0, lambda *_: 9.0) + compare_rows(chosen)
    found = judged(chosen, rows)["C5"]
    assert found.verdict == "undecided"
    assert "by construction" in found.remark
    assert all(c.verdict == "supported" for c in found.contrasts)


def test_cinic_is_judged_on_cinic_only(campaign):
    rows = make_rows(campaign, hill, hill) + compare_rows(campaign)
    elsewhere = judged(campaign, rows)["C10"]
    assert elsewhere.verdict == "no data" and "within one campaign" in elsewhere.remark
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
    assert judged(campaign, pretrain_rows(campaign) + only_top)["C11"].verdict == "contradicted"


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
    assert found["C3"].verdict in ("undecided", "contradicted")
    assert '"label_dirichlet" to partitions' in found["C3"].need


@pytest.mark.parametrize("sampler", ["grid", "sequential", "tpe"])
@pytest.mark.parametrize("stages", [("tune",), ("compare",), ("tune", "compare")])
def test_no_part_of_a_campaign_is_too_little(sampler, stages):
    campaign = compare_campaign(participants=2, replicates=2, stages=stages, tune_sampler=sampler)
    rows = make_rows(campaign) + compare_rows(campaign)
    for some in ([], pretrain_rows(campaign), rows[12:], rows[:-7], rows[::3]):
        found = judge_claims(Tables(some, campaign))
        assert [c.id for c in found] == [f"C{i + 1}" for i in range(len(CLAIMS))]


def test_order_of_rows_changes_nothing(campaign):
    rows = make_rows(campaign) + compare_rows(campaign)
    first, second = (
        judge_claims(Tables(some, campaign))
        for some in (random.Random(3).sample(rows, len(rows)), rows)
    )
    assert repr(first) == repr(second)


def test_tuning_that_grows_between_partitions_only_does_not_grow_with_the_gap(campaign):
    """Simpson's paradox: pooled over partitions the correlation is that of the partitions."""
    spreads = {part.name: 1.0 + index for index, part in enumerate(campaign.partitions)}

    def spread(row):
        if row.stage != "pretrain":
            return row
        share = 0.5 + spreads[row.partition] * (row.params["participant"] - 2.5) / 100
        scores = [replace(s, accuracy=share) for s in (row.outcome.validation, row.outcome.test)]
        return replace(row, outcome=replace(row.outcome, validation=scores[0], test=scores[1]))

    def tuned(row):
        if row.stage != "tune":
            return row
        apart = abs(row.teacher - row.student)
        best = (row.params["temperature"], row.params["alpha"]) == (2.0, 0.75)
        gain = 10 * spreads[row.partition] - apart if best else 0.0
        outcome = replace(row.outcome, validation_gain=gain, test_gain=gain, value=gain)
        return replace(row, outcome=outcome)

    rows = [tuned(spread(row)) for row in make_rows(campaign)]
    tables = Tables(rows, campaign)
    growth = judged(campaign, rows)["C6"].contrasts[0]
    effect = tables.best_settings["test_gain"] - tables.best_settings["vanilla_gain"]
    assert correlate_ranks(effect, tables.best_settings["validation_gap"].abs()) > 0.3
    assert growth.value < -0.9 and growth.verdict == "contradicted"


def test_settings_chosen_by_a_tie_are_left_out(campaign):
    rows = make_rows(campaign, lambda *_: 1.0, lambda *_: 1.0)
    found = judged(campaign, rows)
    for number in (7, 8, 9):
        assert all(c.n == 0 for c in found[f"C{number}"].contrasts)


def test_small_temperatures_by_chance_are_no_low_ones():
    """The grid's middle in place, not in value: half of its temperatures lie at 2.5 and above."""
    rng = random.Random(0)
    campaign = compare_campaign(
        participants=8,
        partitions=(PartitionSettings("specialized"),),
        stages=("tune",),
        tune_temperatures=TEMPERATURES,
        tune_alphas=ALPHAS,
    )
    found = judged(campaign, make_rows(campaign, lambda *_: rng.random()))["C8"]
    assert [c.verdict for c in found.contrasts] == ["undecided", "undecided"]


def test_net_gains_are_judged_where_the_control_ran(campaign):
    rows = make_rows(campaign, hill, hill) + compare_rows(campaign)
    label = judged(campaign, rows)["C5"].contrasts[-1].label
    assert label.endswith("(no control ran)")


def test_draws_of_a_partition_are_judged_together():
    draws = tuple(PartitionSettings(name, family="specialized") for name in ("specialized", "b"))
    campaign = compare_campaign(participants=4, partitions=draws)
    found = judged(campaign, make_rows(campaign, low_hill, low_hill) + compare_rows(campaign))
    assert [c.n for c in found["C8"].contrasts] == [24, 24]
    assert [c.label for c in found["C5"].contrasts if c.label.startswith("specialized")] == [
        "specialized: tuned - dml (greatest of the others)"
    ]


def test_best_teachers_of_one_participant_are_not_spread_evenly():
    campaign = compare_campaign(participants=10)
    only_top = compare_rows(campaign, lambda p, s, m, gap: gap, 0.0)
    spread = [
        c
        for c in judged(campaign, pretrain_rows(campaign) + only_top)["C11"].contrasts
        if "uneven" in c.label and c.n
    ]
    assert len(spread) == 3 and all(c.verdict == "contradicted" for c in spread)


CHUNKS = PartitionSettings("label_chunks")


def turned_surface(gap, temperature, alpha):
    return validation_surface(-gap, temperature, alpha)


def compared(label, surface=validation_surface, rows=None, data="digits", **changes):
    settings = {
        "name": label,
        "participants": 8,
        "partitions": (CHUNKS,),
        "data": DataSettings(data),
        "tune_temperatures": TEMPERATURES,
        "tune_alphas": ALPHAS,
    }
    campaign = make_campaign(**settings | changes)
    rows = make_rows(campaign, surface, surface) if rows is None else rows(campaign)
    return ComparedCampaign(label, Tables(rows, campaign))


def find(pattern, text):
    chosen = pattern.lines[pattern.lines["contrast"].str.contains(text, regex=False)]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_a_campaign_agrees_with_its_copy_wherever_it_is_decided():
    pattern = compare_patterns(compared("a"), compared("b"))
    for line in pattern.lines.to_dict("records"):
        assert line["first_verdict"] == line["second_verdict"]
        assert line["agreement"] in ("supported", line["first_verdict"])
    assert find(pattern, "best T with the accuracy gap")["agreement"] == "supported"


def test_opposite_findings_disagree():
    pattern = compare_patterns(compared("a"), compared("b", turned_surface))
    line = find(pattern, "best T with the accuracy gap")
    assert (line["first_verdict"], line["second_verdict"]) == ("supported", "contradicted")
    assert (line["agreement"], line["same_side"]) == ("contradicted", "no")
    assert pattern.verdict == "contradicted"


def test_two_campaigns_that_contradict_the_paper_alike_agree():
    pattern = compare_patterns(compared("a", turned_surface), compared("b", turned_surface))
    line = find(pattern, "best T with the accuracy gap")
    assert (line["first_verdict"], line["agreement"]) == ("contradicted", "supported")


def test_what_one_campaign_has_no_data_for_supports_nothing():
    pattern = compare_patterns(compared("a"), compared("b", rows=pretrain_rows))
    assert set(pattern.lines["agreement"]) == {"no data"}
    assert pattern.verdict == "no data"


def test_few_participants_leave_it_undecided():
    few = {"participants": 4}
    pattern = compare_patterns(compared("a", **few), compared("b", turned_surface, **few))
    assert pattern.verdict == "undecided"


def test_cinic_and_cifar_are_compared_on_random_chunks_only():
    both = (PartitionSettings("uniform"), CHUNKS)
    cinic = compared("a", data="cinic10", partitions=both)
    pattern = compare_patterns(cinic, compared("b", data="cifar10", partitions=both))
    assert pattern.statement == "C10: CINIC-10 (Random Chunks only) agrees with CIFAR-10."
    assert all(text.startswith("label_chunks") for text in pattern.lines["contrast"])
    alone = next(c for c in judge_claims(cinic.tables) if c.id == "C10")
    assert list(pattern.lines["first_value"]) == pytest.approx(
        [c.value for c in alone.contrasts], nan_ok=True
    )
    assert list(pattern.lines["first_verdict"]) == [c.verdict for c in alone.contrasts]


def test_other_data_and_other_settings_are_named():
    cifar = compare_patterns(compared("a"), compared("b", data="cifar10"))
    assert cifar.statement == "a (digits) agrees with b (cifar10)."
    one = compared("a")._replace(settings={"seed": "0", "version of torch": "2.5"})
    other = compared("b")._replace(settings={"seed": "1", "version of torch": "2.6"})
    assert compare_patterns(one, other).statement == "a (seed = 0) agrees with b (seed = 1)."
    many = dict.fromkeys("cdef", "1")
    first, second = (
        c._replace(settings=s) for c, s in ((one, many), (other, dict.fromkeys("cdef", "2")))
    )
    assert compare_patterns(first, second).statement.startswith("a (c = 1, d = 1, e = 1, ...)")
    assert compare_patterns(one, one._replace(label="b")).statement == (
        "a agrees with b, of the same settings."
    )


def test_all_shared_ways_of_partitioning_are_compared():
    both = (PartitionSettings("uniform"), CHUNKS)
    pattern = compare_patterns(compared("a", partitions=both), compared("b", partitions=both))
    assert {text.split(":")[0].split(",")[0] for text in pattern.lines["contrast"]} == {
        "uniform",
        "label_chunks",
    }
    assert pattern.lines["contrast"].is_unique
    elsewhere = compared("b", partitions=(PartitionSettings("uniform"),))
    assert compare_patterns(compared("a"), elsewhere) is None


def test_the_verdict_follows_the_rule_of_all_claims():
    pattern = compare_patterns(compared("a"), compared("b"))
    contrasts = [
        replace_verdict(make_empty_contrast("x"), verdict) for verdict in pattern.lines["agreement"]
    ]
    assert pattern.verdict == combine_verdicts(contrasts)


def replace_verdict(contrast, verdict):
    return contrast._replace(verdict=verdict)
