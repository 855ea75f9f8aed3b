from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdopt.names import CAMPAIGN_NAME, parse_study_name, seed_for, study_name

words = st.from_regex(CAMPAIGN_NAME, fullmatch=True).filter(lambda w: "\n" not in w)
pairs = st.none() | st.tuples(st.integers(0, 999), st.integers(0, 999))


@given(words, words, pairs)
def test_names_come_apart_as_they_were_made(campaign, partition, pair):
    teacher, student = pair or (None, None)
    text = study_name(campaign, partition, "tune", teacher, student)
    assert parse_study_name(text) == (campaign, partition, "tune", teacher, student)


@pytest.mark.parametrize("text", ["", "a", "a/b", "a/b/c/d", "a/b/c/t1", "a/b/tune/t01-s02/x"])
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
