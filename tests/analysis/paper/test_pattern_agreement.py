import pytest

from kdopt.analysis.agreement import ComparedCampaign
from kdopt.analysis.paper.claims import judge_claims
from kdopt.analysis.paper.judging import combine_verdicts, make_empty_contrast
from kdopt.analysis.paper.pattern_agreement import compare_patterns
from kdopt.analysis.tables import compute_tables
from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.partition_settings import PartitionSettings
from tests.analysis.synthetic import (
    ALPHAS,
    TEMPERATURES,
    make_campaign,
    make_rows,
    pretrain_rows,
    validation_surface,
)

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
    return ComparedCampaign(label, compute_tables(rows, campaign))


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
