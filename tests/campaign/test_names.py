from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdopt.campaign.federated_algorithms import ALGORITHM_FACTS
from kdopt.campaign.method_spaces import TUNED_METHODS
from kdopt.campaign.names import (
    CAMPAIGN_NAME,
    parse_pair_name,
    parse_study_name,
    seed_for,
    study_name,
)

words = st.from_regex(CAMPAIGN_NAME, fullmatch=True).filter(lambda w: "\n" not in w)
pairs = st.none() | st.tuples(st.integers(0, 999), st.integers(0, 999))


@given(words, words, pairs, st.none() | st.sampled_from(TUNED_METHODS))
def test_names_come_apart_as_they_were_made(campaign, partition, pair, method):
    teacher, student = pair or (None, None)
    text = study_name(campaign, partition, "tune", teacher, student, method)
    wanted = (campaign, partition, "tune", teacher, student, method if pair else None)
    assert parse_study_name(text) == wanted


@given(words, words, st.none() | st.sampled_from(sorted(ALGORITHM_FACTS)))
def test_names_of_federated_studies_come_apart_as_they_were_made(campaign, partition, algorithm):
    text = study_name(campaign, partition, "federate", method=algorithm)
    assert parse_study_name(text) == (campaign, partition, "federate", None, None, algorithm)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a/b",
        "a/b/c/d",
        "a/b/c/t1",
        "a/b/tune/t01-s02/X",
        "a/b/tune/x",
        "a/b/federate/X",
    ],
)
def test_other_texts_are_no_study_names(text):
    with pytest.raises(ValueError, match="not a study name"):
        parse_study_name(text)


def test_seeds_depend_on_every_name_and_on_where_it_stands():
    seeds = [
        seed_for(0, "uniform", 1),
        seed_for(1, "uniform", 0),
        seed_for(0, "uniform1"),
        seed_for(0, "uniform", 1, 0),
        seed_for("0", "uni", "form1"),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_for(0, "uniform", 1) == seeds[0]


@given(words, words, st.tuples(st.integers(0, 999), st.integers(0, 999)))
def test_a_pair_is_named_with_or_without_its_stage(campaign, partition, pair):
    full = study_name(campaign, partition, "tune", *pair)
    short = full.replace("/tune/", "/") if full.count("/tune/") == 1 else full
    assert parse_pair_name(full) == parse_pair_name(short) == parse_study_name(full)


@pytest.mark.parametrize("text", ["a/b", "a/b/c", "a/b/pretrain", "a/b/t1-s2/x", "t01-s02"])
def test_other_texts_name_no_pair(text):
    with pytest.raises(ValueError, match=r"not a study name|names no pair"):
        parse_pair_name(text)
